"""The predictions of a policy in one recorded episode, beside the actions that were recorded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from proctor.errors import ConfigError
from proctor.results.files import replacing
from proctor.types import Array


@dataclass(frozen=True, eq=False)
class Predictions:
    """One recorded episode of ``length`` steps, and the chunks that a policy predicted in it.

    Attributes:
        truth: the recorded actions, ``(length, action_size)``.
        starts: the steps at which the policy inferred, ascending from 0, int64 ``(inferences,)``.
        chunks: for each of them the predicted actions ``(steps, action_size)``, from that step on. A chunk is at least
            as long as the steps until the next start, or until the end.
    """

    truth: Array
    starts: Array
    chunks: tuple[Array, ...]

    @property
    def executed(self) -> Array:
        """The action predicted for each step that would have been executed, ``(length, action_size)``."""
        ends = [*self.starts[1:], len(self.truth)]
        parts = (chunk[: end - start] for start, end, chunk in zip(self.starts, ends, self.chunks, strict=True))
        return np.concatenate(list(parts))

    @property
    def longest(self) -> int:
        """The number of actions of the longest chunk."""
        return max(map(len, self.chunks))

    def write(self, path: Path) -> None:
        """Write the file, which is the same for the same predictions, to the byte.

        Raises:
            ResourceError: the file cannot be written.
        """
        lengths = np.array([len(chunk) for chunk in self.chunks])
        with replacing(path) as file:
            np.savez(file, truth=self.truth, starts=self.starts, lengths=lengths, predicted=np.concatenate(self.chunks))

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """Read a file that :meth:`write` wrote.

        Raises:
            ConfigError: the file is damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                bounds = np.cumsum(arrays["lengths"])[:-1]
                chunks = tuple(np.split(arrays["predicted"], bounds))
                return cls(arrays["truth"], arrays["starts"], chunks)
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise ConfigError(f"{path} is damaged ({error}); remove it, and run the same command again.") from None
