"""Proctor gives a robot policy its exam."""
