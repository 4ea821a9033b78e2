"""Counts of episodes, intervals, comparisons of two rates, and when to stop. Pure functions of numbers."""
