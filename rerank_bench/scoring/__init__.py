"""Scorers: how a (query, document) pair becomes one float32 logit, and the engine that batches the pairs."""
