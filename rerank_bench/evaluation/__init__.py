"""Evaluation: measures through ir-measures, the three views, ties, intervals and p-values."""
