"""Reporting: the CSV leaderboard, tables and plots rendered from it."""
