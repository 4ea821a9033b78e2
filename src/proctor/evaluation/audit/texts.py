"""Findings about instructions that are unlike those of the dataset."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence

from proctor.results.audit import Evidence, Finding, Severity

_FEATURE = "task"


def text_findings(
    instructions: Mapping[str, int], tasks: Sequence[str], *, reads_text: bool | None
) -> Iterator[Finding]:
    """Compare instructions, with the number of their episodes, with a dataset's ``tasks``.

    There is nothing to say if the policy reads no text; if that is not known, a difference is only worth a note.
    """
    if reads_text is False or not tasks:
        return
    known, plain = set(tasks), {_plain(task): task for task in tasks}
    for text in sorted(instructions):
        if text in known:
            continue
        evidence: Evidence = {"instruction": text, "episodes": float(instructions[text])}
        if (alike := plain.get(_plain(text))) is not None:
            sentence = f"The instruction {text!r} is spelt {alike!r} in the dataset."
            yield Finding("instruction", Severity.NOTE, _FEATURE, None, "dataset", sentence, evidence)
            continue
        nearest = (difflib.get_close_matches(text, tasks, 1, 0) or [tasks[0]])[0]
        sentence = f"The instruction {text!r} is none of the dataset's {len(tasks)}; the nearest is {nearest!r}."
        severity = Severity.WARNING if reads_text else Severity.NOTE
        yield Finding("instruction", severity, _FEATURE, None, "dataset", sentence, evidence)


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[\W_]+", " ", text.casefold()).split())
