"""Finds out whether a machine is ready, by trying: every check does what an evaluation would do, in its own process.

================  ==============================================================================================
``findings``      the result of a check
``environments``  the checks of environments of their own
``checks``        the checks themselves; each runs in a child process, so that a crash or a hang is a finding too
``examination``   the list of the checks for this machine, and how they are run
================  ==============================================================================================
"""

from proctor.doctor.examination import Check, checks_of_this_machine, examine
from proctor.doctor.findings import Finding, Status

__all__ = ["Check", "Finding", "Status", "checks_of_this_machine", "examine"]
