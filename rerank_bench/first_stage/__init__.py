"""First stages: the analyser, BM25 over an inverted index in arrays, candidate lists and their files."""
