"""The audit of a run's inputs, as ``audit.json`` in its run directory holds it.

:mod:`proctor.evaluation.audit` makes it; reports and the viewer read it, and compute nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import msgspec

from proctor.errors import ConfigError
from proctor.machine.files import read_file
from proctor.results.files import unreadable, write_json
from proctor.results.run_dir import RunDirectory

FORMAT_VERSION = 1
WORKS_FROM = 0.5
"""The success rate from which a policy is taken to work, so that only strong evidence is worth a line."""


class Severity(StrEnum):
    """The strength of the evidence. ``severe`` cannot be the policy's doing; ``warning`` can follow from a bad policy;
    a ``note`` is a fact that may be intended.
    """

    SEVERE = "severe"
    WARNING = "warning"
    NOTE = "note"


Evidence = dict[str, float | str | list[int]]
"""The numbers of a finding, by name."""


class Finding(msgspec.Struct, frozen=True):
    """Something that differs from the policy's training.

    ``check`` names the kind of finding and ``source`` the evidence: ``checkpoint``, ``dataset`` or ``environment``.
    ``feature`` is the name in the policy, and ``index`` its element or channel, None if it is about all of them.
    ``evidence`` holds the numbers of the ``sentence``.
    """

    check: str
    severity: Severity
    feature: str
    index: int | None
    source: str
    sentence: str
    evidence: Evidence = {}


class TrainedFeature(msgspec.Struct, frozen=True):
    """A feature in the policy's training, as its processors describe it.

    ``type`` is LeRobot's (STATE, VISUAL, ENV, ACTION), and ``shape`` has channels first. ``statistics`` are flat, by
    name: mean, std, min, max, q01, …; those of an image are of its channels in [0, 1]. ``why_not`` is the reason why
    the statistics cannot be held against what the policy is given, "" if they can.
    """

    type: str
    shape: tuple[int, ...] | None
    statistics: dict[str, list[float]]
    why_not: str = ""


class Training(msgspec.Struct, frozen=True):
    """All that a policy's files tell of its training.

    ``features`` are by the policy's names and ``rename_map`` maps the environment's names to these. ``reads_text`` is
    None if it is not known whether the policy reads an instruction. ``n_action_steps`` is the number that the files
    name, None if they name none.
    """

    features: dict[str, TrainedFeature]
    rename_map: dict[str, str] = {}
    reads_text: bool | None = None
    n_action_steps: int | None = None


class Histogram(msgspec.Struct, frozen=True):
    """A feature's element in the run and in training.

    ``edges`` are those of the bins of ``run``, which are shares of the samples; ``training`` are shares of the
    dataset's samples in the same bins, empty if there is no dataset. ``mean``, ``std``, ``low`` and ``high`` describe
    the training; None if they are not known.
    """

    feature: str
    index: int
    edges: list[float]
    run: list[float]
    training: list[float] = []
    mean: float | None = None
    std: float | None = None
    low: float | None = None
    high: float | None = None


class Picture(msgspec.Struct, frozen=True):
    """An image: ``png`` is its PNG file in base64. ``of_dataset`` says on which side it belongs."""

    feature: str
    caption: str
    png: str
    of_dataset: bool = False


class Audit(msgspec.Struct, frozen=True):
    """The audit of a run. ``n_episodes`` is the number of episodes that were looked at.

    ``sources`` are the kinds of evidence that there were, and ``remarks`` say what could not be compared, and why.
    """

    n_episodes: int
    sources: list[str]
    findings: list[Finding]
    remarks: list[str] = []
    histograms: list[Histogram] = []
    pictures: list[Picture] = []
    training: Training | None = None
    format_version: int = FORMAT_VERSION


_RANK = list(Severity)


def ranked(findings: Sequence[Finding]) -> list[Finding]:
    """Sort findings, the strongest evidence first."""
    return sorted(findings, key=lambda finding: _RANK.index(finding.severity))


def worth_a_line(audit: Audit, success_rate: float | None) -> list[Finding]:
    """Select the findings that the final block mentions: strong evidence, and weaker evidence unless the policy works.

    ``success_rate`` is 0 to 1, None if it is not known.
    """
    works = success_rate is not None and success_rate >= WORKS_FROM
    shown = (Severity.SEVERE,) if works else (Severity.SEVERE, Severity.WARNING)
    return [finding for finding in ranked(audit.findings) if finding.severity in shown]


def write_audit(directory: Path, audit: Audit) -> None:
    """Write ``audit.json``, atomically.

    Raises:
        ResourceError: the file cannot be written.
    """
    write_json(RunDirectory(directory).audit_file, audit)


def read_audit(directory: Path) -> Audit | None:
    """Read the audit of the run in ``directory``; None if there is none.

    Raises:
        ConfigError: the file is damaged, or a newer version of Proctor wrote it.
    """
    path = RunDirectory(directory).audit_file
    try:
        audit = msgspec.json.decode(read_file(path), type=Audit)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unreadable(path, error) from None
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); write it again with: proctor audit {directory}") from None
    if audit.format_version > FORMAT_VERSION:
        raise ConfigError(f"{path} has format version {audit.format_version}: update Proctor to read it.")
    return audit
