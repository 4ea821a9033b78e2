"""Counts of episodes, intervals, comparisons of two rates, and the rule for an early stop: pure functions."""
