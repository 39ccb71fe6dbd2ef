"""The self-test of a model: does it load, does it rank what anyone would, do its scores depend on the pair alone."""
