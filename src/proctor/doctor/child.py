"""Runs one check: ``python -m proctor.doctor.child RESULT_FD module:function [ARGUMENT…]``."""

from __future__ import annotations

import os
import sys

import msgspec

from proctor.plugins import load_object


def main() -> None:
    """Call the check, and send its finding. What it raises becomes a traceback on standard error and exit status 1."""
    result, address, *arguments = sys.argv[1:]
    finding = load_object(address)(*arguments)
    os.write(int(result), msgspec.json.encode(finding))


if __name__ == "__main__":
    main()
