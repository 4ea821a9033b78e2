"""``proctor doctor``."""

from __future__ import annotations

from dataclasses import asdict

NOT_USABLE = 4


def doctor_command(*, json: bool = False) -> int:
    """Check whether this machine is ready for evaluations, and say how to mend what is not.

    Every check is made in a process of its own and tried for real: a frame drawn, a simulator built, LeRobot imported.
    That takes a minute or two.

    Parameters
    ----------
    json
        As JSON.
    """
    from rich.console import Console

    from proctor.cli.output import print_json
    from proctor.doctor import Status, checks_of_this_machine, examine
    from proctor.reports.text import safe

    console, progress = Console(), Console(stderr=True)
    checks = checks_of_this_machine()
    width = max(len(check.name) for check in checks)
    styles = {Status.OK: "green", Status.WARNING: "yellow", Status.BROKEN: "bold red", Status.ABSENT: "dim"}
    found = []
    with progress.status("Checking"):
        for check, finding in examine(checks):
            found.append((check, finding))
            if json:
                continue
            line = safe(f"{finding.status:<8}", styles[finding.status])
            console.print(
                line.append(f" {check.name:<{width}}  ", "bold").append(safe(finding.message)), soft_wrap=True
            )
            if finding.remedy and finding.status is not Status.OK:
                console.print(safe(f"{'':<8} {'':<{width}}  → {finding.remedy}", "dim"), soft_wrap=True)
    usable = all(finding.status is not Status.BROKEN for _, finding in found)
    if json:
        print_json({"usable": usable, "checks": [{"name": check.name, **asdict(finding)} for check, finding in found]})
    elif not usable:
        console.print("\nSomething that is needed is broken; mend what is marked so.", style="bold red")
    return 0 if usable else NOT_USABLE
