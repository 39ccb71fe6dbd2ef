"""Comparison of stored runs: what may be compared, query by query, and what the differences say.  No torch, no texts."""
