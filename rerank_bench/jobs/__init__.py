"""Whole trainings: data in, evaluation by the pipeline while it trains, checkpoint out.

Stands above ``pipeline`` and ``training``, which know nothing of each other, and hands one's functions to the other.
"""
