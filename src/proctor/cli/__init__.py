"""The command line: one file per command, which parses, calls and prints."""

from proctor.cli.main import main

__all__ = ["main"]
