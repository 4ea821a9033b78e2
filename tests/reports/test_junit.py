"""A run as a JUnit file."""

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from proctor.reports.gate import Decision
from proctor.reports.junit import write_junit
from proctor.results.summary import summarize
from result_samples import SPECS, TASKS, broken, done


@pytest.fixture
def written(tmp_path):
    """Writes a run of these results, and reads the file back."""

    def write(results, decision=None, tasks=TASKS):
        write_junit(tmp_path / "junit.xml", summarize(tasks, SPECS, results), decision)
        return ET.parse(tmp_path / "junit.xml").getroot()

    return write


def test_every_task_is_a_case_of_its_suite(written):
    """A policy's failures are figures of its task and no failed tests."""
    root = written([done(spec, success=spec.episode_index > 0) for spec in SPECS])

    assert {suite.get("name"): suite.get("tests") for suite in root} == {"zoo": "2", "attic": "1"}
    assert [case.get("name") for case in root.iter("testcase")] == ["feed-lion", "feed-bear", "find-lamp"]
    assert not [*root.iter("failure"), *root.iter("error"), *root.iter("skipped")]
    assert root.findtext("testsuite/testcase/system-out").splitlines() == [
        "success 3/4, 75.0 % (95%: 30.1 … 95.4)",
        "failed: zoo/0 episode 0 (seed 1000)",
    ]
    assert float(root.find("testsuite").get("time")) == pytest.approx(4.0), "eight episodes of half a second"


def test_an_episode_that_could_not_be_run_is_an_error_of_its_task(written):
    """And a task with episodes that have no result yet is skipped."""
    root = written([*map(done, SPECS[:3]), broken(SPECS[3]), *map(done, SPECS[4:7]), *map(done, SPECS[8:])])

    zoo = root.find("testsuite")
    assert (zoo.get("errors"), zoo.get("skipped"), zoo.get("failures")) == ("1", "1", "0")
    assert root.find(".//error").get("message") == "1 episode could not be run"
    assert root.findtext(".//error") == "zoo/0 episode 3 (seed 1003): raised: the arm fell off"
    assert root.find(".//skipped").get("message") == "1 episode without a result"


@pytest.mark.parametrize(("passed", "tag"), [(True, None), (False, "failure"), (None, "skipped")])
def test_the_gate_is_the_case_that_fails(written, passed, tag):
    """It is skipped if the run cannot be judged."""
    root = written(map(done, SPECS), Decision(passed, "a sentence"))

    gate = root.find("testsuite[@name='fail_under']/testcase")
    assert [child.tag for child in gate] == [*([tag] if tag else []), "system-out"]
    assert gate.findtext("system-out") == "a sentence"


def test_foreign_names_cannot_break_the_file(written):
    """XML holds neither control characters nor half of a surrogate pair, and names are no markup."""
    task = replace(TASKS[0], name="feed\x00\x1b[31m\ud800<lion>&\ufffe]]>")

    root = written(map(done, SPECS), tasks=(task, *TASKS[1:]))

    assert root.find("testsuite/testcase").get("name") == "feed��[31m�<lion>&�]]>"
