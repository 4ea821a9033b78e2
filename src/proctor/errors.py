"""Every error Proctor raises on purpose, and the exit status each one becomes.

::

    ProctorError                     1
    ├── ConfigError                  2   a flag, a file, a name: what is wrong, what was expected, what to do
    │   ├── MissingExtraError        2   a package is not installed: the pip command
    │   ├── CheckpointError          2   a checkpoint that cannot be loaded
    │   ├── ContractError            2   policy and environment do not fit each other
    │   ├── RunLockedError           2   another process writes to this run directory
    │   └── FingerprintError         2   the run directory holds results of a different evaluation
    ├── EnvironmentBuildError        2   the simulator cannot be constructed at all
    ├── NoResultError                3   every episode, or each of the first three, ended in an error
    ├── ResourceError                4   disk full, out of memory, too many worker deaths: results so far are kept
    │   └── PolicyGoneError          4   a policy's server went away and did not come back: results so far are kept
    ├── MergeError                   5   journals that contradict each other, or leave part of the plan unmeasured
    ├── PolicyError                  -   one episode's inference failed: becomes that episode's ``error``
    │   └── EpisodeLostError         -   a policy lost an episode that it had no fault in: the episode starts again
    └── Interrupted                130   SIGINT (130), SIGTERM (143) or SIGHUP (129); the run can be resumed

A user's error is one sentence and never a traceback. Anything that is not a ProctorError is a bug, shown whole.

An error crosses the border of a process as a :class:`PackedError`, a plain value.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

_PUBLISHED_AS = "proctor-eval"


@cache
def distribution_name() -> str:
    """Return the name of the distribution that Proctor is installed as, whose version is Proctor's.

    It is the published name. A distribution of another name counts only if it installs the command ``proctor`` and the
    published one is not there: somebody has built Proctor under a name of their own.
    """
    from importlib.metadata import PackageNotFoundError, distribution, entry_points  # slow, and workers do not need it

    try:
        distribution(_PUBLISHED_AS)
    except PackageNotFoundError:
        commands = entry_points(group="console_scripts", name="proctor")  # another project has this name on the index
        ours = (point.dist.name for point in commands if point.value == "proctor.cli:main" and point.dist)
        return next(ours, _PUBLISHED_AS)
    return _PUBLISHED_AS


def install_command(extra: str) -> str:
    """Return the command that installs an extra of Proctor."""
    return f"pip install '{distribution_name()}[{extra}]'"


class ProctorError(Exception):
    """The base class of Proctor's errors. ``exit_code`` is the exit status of the command line, ``hint`` its advice."""

    exit_code = 1
    hint = ""

    def packed(self) -> PackedError:
        """Give this error as a value that another process can raise. A class from elsewhere becomes its nearest base
        class of this module. The cause and the traceback are left behind.
        """
        name = next(kind.__name__ for kind in type(self).__mro__ if kind in _KINDS.values())
        message, hint = (text.encode("utf-8", "backslashreplace").decode() for text in (str(self), self.hint))
        return PackedError(name, message, hint, self.exit_code)


@dataclass(frozen=True, slots=True)
class PackedError:
    """An error on its way from one process to another: the name of its class, its message, and its exit status."""

    name: str
    message: str
    hint: str = ""
    exit_code: int = ProctorError.exit_code

    def unpacked(self) -> ProctorError:
        """Give the error, to be raised. A name that is none of this module's is a plain :class:`ProctorError`: nothing
        is imported because a message names it.
        """
        kind = _KINDS.get(self.name, ProctorError)
        error = kind.__new__(kind, self.message)  # several classes make their sentence of other arguments
        error.hint, error.exit_code = self.hint, self.exit_code
        return error


class ConfigError(ProctorError):
    """The user asked for something that cannot be done as asked."""

    exit_code = 2


class MissingExtraError(ConfigError):
    """A package that an extra of Proctor brings is not installed.

    ``environment`` names the recipe of an environment that has it, if there is one.
    """

    def __init__(self, what: str, extra: str, cause: str = "", environment: str = "") -> None:
        reason = f" ({cause})" if cause else ""
        other_way = f", or in an environment of its own with: proctor env create {environment}" if environment else ""
        super().__init__(f"{what} is not installed{reason}; install it with: {install_command(extra)}{other_way}")


class MissingFilesError(ConfigError):
    """Files that a benchmark needs are missing, which its package does not contain and the user can fetch."""


class CheckpointError(ConfigError):
    """A checkpoint is missing, incomplete or corrupt. The message names the file and the reason."""


class ContractError(ConfigError):
    """Policy and environment do not fit each other. The message shows what one expects and the other gives."""


class RunLockedError(ConfigError):
    """Another live process is writing to the same run directory."""


class FingerprintError(ConfigError):
    """A run directory holds results that this evaluation would not reproduce."""


class EnvironmentBuildError(ProctorError):
    """Constructing the simulator fails the same way every time."""

    exit_code = 2


class NoResultError(ProctorError):
    """Every episode that ran ended in an error, so there is no result. The cause holds the first traceback."""

    exit_code = 3


class ResourceError(ProctorError):
    """The machine ran out of something. What was measured is on disk."""

    exit_code = 4


class PolicyGoneError(ResourceError):
    """A policy's server went away in the middle of a run and did not come back in time."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"The policy server at {url} is gone ({reason}); start it again and go on.")
        self.reason = reason


class MergeError(ProctorError):
    """Journals cannot be merged. The message shows the contradicting results, or the episodes that are missing."""

    exit_code = 5


class PolicyError(ProctorError):
    """The policy raised or returned something that cannot be executed."""


class EpisodeLostError(PolicyError):
    """The policy lost an episode through no fault of the episode's: it starts again, and the attempt does not count."""


class Interrupted(ProctorError):  # noqa: N818 - nothing went wrong; it is named for what happened
    """A signal ended the run early; everything finished is on disk."""

    def __init__(self, signal_number: int) -> None:
        super().__init__("interrupted")
        self.exit_code = 128 + signal_number


_KINDS = {
    kind.__name__: kind for kind in [*globals().values()] if isinstance(kind, type) and issubclass(kind, ProctorError)
}


class Note(UserWarning):
    """Something that the user should know of this evaluation and that is not an error: no exit status depends on it."""


def note(sentence: str) -> None:
    """Give the user a sentence: a line ``Note: …`` on a command's standard error, or a warning from Python."""
    warnings.warn(sentence, Note, stacklevel=2)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Give `` Did you mean 'x'?`` for the nearest known name, or a list of the known names if none is near."""
    candidates = sorted(known)
    near = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
    if near:
        return f" Did you mean '{near[0]}'?"
    shown = ", ".join(candidates[:12]) + (", …" if len(candidates) > 12 else "")
    return f" Known: {shown}." if candidates else ""
