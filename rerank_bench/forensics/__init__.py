"""Forensics: which queries a run made worse or better, and why, from stored run folders alone."""
