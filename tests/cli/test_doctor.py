"""``proctor doctor``: lines for people, JSON and an exit status for scripts."""

from __future__ import annotations

import json

import pytest

from proctor import doctor
from proctor.cli import main
from proctor.doctor import Check, Finding, Status

FINDINGS = [
    Finding(Status.OK, "3.12"),
    Finding(Status.WARNING, "little memory", "buy some"),
    Finding(Status.ABSENT, "no such thing", "pip install 'it'"),
]
BROKEN = Finding(Status.BROKEN, "\x1b[2Jit crashed", "repair it")


@pytest.fixture
def found(monkeypatch):
    """What the examination finds."""

    def let(findings):
        checks = [Check(f"check {number}", "") for number in range(len(findings))]
        monkeypatch.setattr(doctor, "checks_of_this_machine", lambda: checks)
        monkeypatch.setattr(doctor, "examine", lambda checks: zip(checks, findings, strict=True))

    return let


def test_a_machine_with_warnings_is_usable(found, capsys):
    """Each finding is a line, with how to repair it below."""
    found(FINDINGS)

    assert main(["doctor"]) == 0

    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "ok       check 0  3.12",
        "warning  check 1  little memory",
        "                  → buy some",
        "absent   check 2  no such thing",
        "                  → pip install 'it'",
    ]


def test_something_broken_is_exit_status_4(found, capsys):
    """Whatever a library had to say does not control the terminal."""
    found([*FINDINGS, BROKEN])

    assert main(["doctor"]) == 4

    out = capsys.readouterr().out
    assert "broken   check 3  \N{REPLACEMENT CHARACTER}[2Jit crashed" in out
    assert "repair what is marked so" in out


@pytest.mark.parametrize(("findings", "status"), [(FINDINGS, 0), ([*FINDINGS, BROKEN], 4)], ids=["usable", "broken"])
def test_json_has_everything(found, capsys, findings, status):
    """And nothing else is printed."""
    found(findings)

    assert main(["doctor", "--json"]) == status

    content = json.loads(capsys.readouterr().out)
    assert content["usable"] == (status == 0)
    assert content["checks"][1] == {
        "name": "check 1",
        "status": "warning",
        "message": "little memory",
        "remedy": "buy some",
    }
    assert len(content["checks"]) == len(findings)
