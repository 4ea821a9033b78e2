"""The check of an environment, on its own and as a finding of ``proctor doctor``."""

from __future__ import annotations

import shutil

import pytest

from proctor.doctor import Status, environments
from proctor.doctor.examination import checks_of_this_machine
from proctor.interpreters.checks import why_check_fails

NEEDS_A_FILE = "import pathlib; assert not pathlib.Path('broken').exists(), 'it is broken'"


def test_a_check_passes_or_says_why_not(recipe_of, create):
    """By the last line that it prints, by its status, or by the time that it takes."""
    environment = create(recipe_of(check=f'"{NEEDS_A_FILE}"'))
    assert why_check_fails(environment, 60) == ""

    (environment.folder / "broken").touch()
    assert why_check_fails(environment, 60) == "AssertionError: it is broken"
    environment.interpreter.write_text("#!/bin/sh\nkill -9 $$\n")
    assert why_check_fails(environment, 60) == "its check was ended by SIGKILL"
    environment.interpreter.write_text("#!/bin/sh\nexec sleep 60\n")
    assert why_check_fails(environment, 0.2) == "its check does not end within 0.2 s"
    environment.interpreter.unlink()
    assert why_check_fails(environment, 60) == "its interpreter does not start: No such file or directory"


@pytest.mark.parametrize(
    ("harm", "status", "message", "remedy"),
    [
        (lambda *_: None, Status.OK, "its check passed in", ""),
        (
            lambda found, _: (found.folder / "broken").touch(),
            Status.BROKEN,
            "it is broken",
            "proctor env remove tiny; ",
        ),
        (lambda found, _: found.interpreter.unlink(), Status.WARNING, "was made with is gone", "proctor env create /"),
        (lambda _, write: write(check='"x"'), Status.WARNING, "its recipe has changed", "proctor env remove --stale"),
        (lambda found, _: shutil.rmtree(found.folder), Status.ABSENT, "was removed meanwhile", ""),
    ],
    ids=["good", "broken", "no python", "stale", "removed"],
)
def test_the_doctor_says_what_to_do(recipe_of, create, harm, status, message, remedy):  # noqa: PLR0917
    environment = create(recipe_of(check=f'"{NEEDS_A_FILE}"'))
    assert [check.arguments for check in checks_of_this_machine() if check.name == "environment tiny"] == [
        (str(environment.folder),)
    ]
    harm(environment, recipe_of)

    finding = environments.environment(str(environment.folder))

    assert finding.status is status
    assert message in finding.message
    assert remedy in finding.remedy
