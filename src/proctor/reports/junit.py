"""A run as a JUnit file, which the pages of continuous integration show: a test case for each task, one for the gate.

A policy that fails some episodes is not a failed test: a task's case carries its rate and the failed episodes as text,
and is an error only if episodes could not be run. The gate (``--fail_under``) is the case that fails. The form is the
one that common readers share: ``testsuites``, ``testsuite`` for each suite, ``testcase`` with ``error``, ``failure``,
``skipped`` and ``system-out``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from proctor.reports.gate import Decision
from proctor.reports.text import count, episode_error, percent, percent_range, safe
from proctor.results.files import replacing
from proctor.results.summary import Summary, TaskSummary
from proctor.statistics.intervals import LEVEL
from proctor.types import Outcome

GATE = "fail_under"
"""The name of the suite, and of the case in it, that says whether the run passed its gate."""


def write_junit(path: Path, summary: Summary, decision: Decision | None) -> None:
    """Write the file; ``decision`` is the gate's, None if the user set none.

    Raises:
        ResourceError: the file cannot be written; what was at ``path`` before is unchanged.
    """
    root = Element("testsuites", name="proctor")
    for suite in summary.groups:
        cases = [_task(task, summary) for task in summary.tasks if task.task.suite == suite]
        root.append(_suite(suite, cases))
    if decision is not None:
        root.append(_suite(GATE, [_gate(decision)]))
    indent(root)
    with replacing(path) as file:
        ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)


def _suite(name: str, cases: list[Element]) -> Element:
    """Make a suite, with the numbers of cases that readers take from its attributes."""
    suite = Element("testsuite", name=_text(name), tests=str(len(cases)))
    for attribute, tag in (("errors", "error"), ("failures", "failure"), ("skipped", "skipped")):
        suite.set(attribute, str(sum(case.find(tag) is not None for case in cases)))
    suite.set("time", f"{sum(float(case.get('time', 0)) for case in cases):.3f}")
    suite.extend(cases)
    return suite


def _task(task: TaskSummary, summary: Summary) -> Element:
    """Make the case of a task. Its time is that of the workers, in seconds."""
    counts = task.counts
    case = Element("testcase", classname=_text(task.task.suite), name=_text(task.task.name))
    case.set("time", f"{task.timings.total:.3f}")
    errors = [result for result in task.episodes if result.outcome is Outcome.ERROR]
    if errors:
        message = f"{count(len(errors), 'episode')} could not be run"
        lines = [episode_error(result.spec, result.errors[-1]).plain for result in errors]
        SubElement(case, "error", type="episode", message=message).text = "\n".join(map(_text, lines))
    elif counts.n_missing:
        SubElement(case, "skipped", message=f"{count(counts.n_missing, 'episode')} without a result")
    SubElement(case, "system-out").text = "\n".join(_figures(task, summary))
    return case


def _figures(task: TaskSummary, summary: Summary) -> Iterator[str]:
    """Give the rate of a task with its interval, and the episodes that failed."""
    counts = task.counts
    if counts.rate is not None:
        interval = percent_range(summary.interval(counts))
        yield f"success {counts.n_successes}/{counts.n_completed}, {percent(counts.rate)} ({LEVEL:.0%}: {interval})"
    failed = [result.spec for result in task.episodes if result.success is False]
    for spec in failed:
        video = summary.videos.get(spec)
        yield _text(f"failed: {spec}{f', {video}' if video else ''}")


def _gate(decision: Decision) -> Element:
    case = Element("testcase", classname=GATE, name=GATE)
    if not decision.passed:
        SubElement(case, "skipped" if decision.passed is None else "failure", message=decision.sentence)
    SubElement(case, "system-out").text = decision.sentence
    return case


def _text(text: str) -> str:
    """Give foreign text as XML can hold it, without control characters and surrogates."""
    return safe(text).plain
