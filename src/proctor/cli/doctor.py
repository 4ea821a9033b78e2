"""``proctor doctor``."""

from __future__ import annotations

from dataclasses import asdict

from rich.console import Console

from proctor.cli.output import print_json

NOT_USABLE = 4


def doctor_command(*, json: bool = False) -> int:
    """Check whether this machine is ready for evaluations, and say how to repair what is not.

    Every check runs in a process of its own and tries the real thing: a frame is drawn, a simulator is built, LeRobot
    is imported. That takes a minute or two.

    Parameters
    ----------
    json
        Print the findings as JSON.
    """
    from proctor.cli.findings import print_finding
    from proctor.doctor import Status, checks_of_this_machine, examine

    console = Console()
    checks = checks_of_this_machine()
    width = max(len(check.name) for check in checks)
    found = []
    with Console(stderr=True).status("Checking"):
        for check, finding in examine(checks):
            found.append((check, finding))
            if not json:
                print_finding(console, check, finding, width)
    usable = all(finding.status is not Status.BROKEN for _, finding in found)
    if json:
        print_json({"usable": usable, "checks": [{"name": check.name, **asdict(finding)} for check, finding in found]})
    elif not usable:
        console.print("\nSomething that is needed is broken; repair what is marked so.", style="bold red")
    return 0 if usable else NOT_USABLE
