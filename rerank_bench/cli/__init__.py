"""The command line: arguments to a configuration, one call, one rendering, one exit code."""
