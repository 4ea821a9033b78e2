"""Looks whether a machine is ready, by trying: every check does what an evaluation would do, in a process of its own.

==============  ======================================================================================
``findings``    what a check says
``checks``      the checks themselves; each runs in a child, so that a crash or a hang is a finding too
``examination`` which checks there are here, and running them
==============  ======================================================================================
"""

from proctor.doctor.examination import Check, checks_of_this_machine, examine
from proctor.doctor.findings import Finding, Status

__all__ = ["Check", "Finding", "Status", "checks_of_this_machine", "examine"]
