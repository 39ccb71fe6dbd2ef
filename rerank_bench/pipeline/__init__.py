"""The order of the stages: data set → candidates → scores → values → run folder and leaderboard.

The only room that knows several others.  The public Python API is here too; the command line is thin over it.
"""
