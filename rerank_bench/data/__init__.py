"""Data sets: manifests, loaders (hub, BEIR folder, TREC files, the running Python's documentation)."""
