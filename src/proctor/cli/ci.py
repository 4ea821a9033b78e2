"""The options of commands for continuous integration: a threshold, a JUnit file, Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from proctor.errors import ResourceError

if TYPE_CHECKING:
    from proctor.reports.gate import Decision
    from proctor.results.run_info import RunInfo
    from proctor.results.summary import Summary

TOO_LOW = 6
_NOT_DECIDED = 3
"""The status of a run whose episodes were not all completed, as of ``proctor eval``."""


@dataclass(frozen=True, kw_only=True)
class CiOptions:
    """Options of continuous integration."""

    fail_under: float | None = None
    """End with status 6 if the success rate is below this rate: 0.8 means 80 %."""

    fail_on: str = "rate"
    """The number that --fail_under looks at: rate, or lower_bound, the lower end of its interval."""

    junit: Path | None = None
    """Write a JUnit file: a test case for each task, and one for --fail_under."""

    markdown: Path | None = None
    """Append the results in Markdown to this file, for example "$GITHUB_STEP_SUMMARY"."""

    def __post_init__(self) -> None:
        if self.fail_under is not None:
            from proctor.reports.gate import Gate

            Gate(self.fail_under, self.fail_on)  # refused before anything runs

    def report(self, run: RunInfo, summary: Summary) -> int:
        """Write the files that were asked for, print what the gate decided, and return the exit status: 0, 3 or 6.

        Raises:
            ConfigError: the run has no success rate that could be compared with ``--fail_under``.
            ResourceError: a file cannot be written.
        """
        decision = self._decision(summary)
        if self.junit is not None:
            from proctor.reports.junit import write_junit

            write_junit(self.junit, summary, decision)
        if self.markdown is not None:
            from proctor.reports.markdown import escaped, run_markdown

            gate = "" if decision is None else f"\n**{escaped(decision.sentence)}**\n"
            append_text(self.markdown, run_markdown(run, summary) + gate)
        return 0 if decision is None else _status(decision)

    def _decision(self, summary: Summary) -> Decision | None:
        if self.fail_under is None:
            return None
        from proctor.reports.gate import Gate

        return Gate(self.fail_under, self.fail_on).decide(summary)


def _status(decision: Decision) -> int:
    """Print what the gate decided on standard error, beside the results, and return the exit status."""
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True).print(Text(decision.sentence, "green" if decision.passed else "bold red"), soft_wrap=True)
    if decision.passed is None:
        return _NOT_DECIDED
    return 0 if decision.passed else TOO_LOW


def append_text(path: Path, text: str) -> None:
    """Add ``text`` to the end of a file, which is made if there is none.

    Raises:
        ResourceError: the file cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8", errors="replace") as file:
            file.write(text + "\n")
    except OSError as error:
        raise ResourceError(f"{path} cannot be written: {error.strerror or error}.") from error
