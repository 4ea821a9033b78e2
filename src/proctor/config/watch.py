"""Options of ``proctor sweep`` for a training that goes on."""

from __future__ import annotations

from dataclasses import dataclass

from proctor.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class WatchConfig:
    """The options with which a training is watched."""

    watch: bool = False
    """Wait for further checkpoints, and evaluate each once the training has written it, until Ctrl-C."""

    newest_first: bool = False
    """With --watch: if several checkpoints wait, evaluate the newest first."""

    n_episodes_if_busy: int | None = None
    """With --watch: episodes of each task for a checkpoint beside which others wait. The rest of its episodes is run
    when no checkpoint waits."""

    stop_after_idle_s: float | None = None
    """With --watch: end after so many seconds without a new checkpoint."""

    def __post_init__(self) -> None:
        given = [name for name in ("newest_first", "n_episodes_if_busy", "stop_after_idle_s") if getattr(self, name)]
        if given and not self.watch:
            raise ConfigError(f"--{given[0]} is for --watch; leave it out, or give --watch.")
        if self.n_episodes_if_busy is not None and self.n_episodes_if_busy < 1:
            raise ConfigError(f"--n_episodes_if_busy is {self.n_episodes_if_busy}; it must be at least 1.")
        if self.stop_after_idle_s is not None and not self.stop_after_idle_s >= 0:
            raise ConfigError(f"--stop_after_idle_s is {self.stop_after_idle_s}; it must be at least 0.")
