"""``proctor check``."""

from __future__ import annotations

from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from proctor.config import RunConfig

if TYPE_CHECKING:
    from proctor.evaluation.determinism import Agreement

GATE_FAILED = 6
_NOTHING = RunConfig()


def check_command(config: Annotated[RunConfig, Parameter(name="*")] = _NOTHING, *, episodes: int = 4) -> int:
    """Check that a policy's results do not depend on how they are computed.

    The same few episodes are run one at a time (twice), on several workers, in another order, and with a worker killed
    in between, and every episode is compared to the last bit. --env.episode_length makes the episodes short.

    Parameters
    ----------
    config
        The options of proctor eval.
    episodes
        The number of episodes per task.
    """
    from proctor.evaluation.determinism import Level, run_variants, verdict
    from proctor.evaluation.prepared_run import prepare
    from proctor.evaluation.terminal import quiet_terminal

    with TemporaryDirectory() as folder:
        evaluation = replace(config.eval, n_episodes=episodes, video="none", recording=False, recording_repo_id=None)
        prepared = prepare(replace(config, eval=evaluation, output_dir=folder))
        with quiet_terminal(evaluation, prepared.run_directory.worker_log) as console:
            console.print(f"{len(prepared.specs)} episodes, one at a time; then in other ways:", style="dim")
            agreements = run_variants(prepared, lambda agreement: console.print(_row(agreement)))
    level, why = verdict(agreements)
    Console().print(Text.assemble("Exactness: ", (level.value, "bold green" if not why else "bold yellow"), f"  {why}"))
    return 0 if level is Level.BITWISE else GATE_FAILED


def _row(agreement: Agreement) -> str:
    equal = f"{agreement.n_equal} of {agreement.n_episodes} episodes equal to the bit"
    if agreement.n_equal == agreement.n_episodes:
        return f"  {agreement.variant.name:<32}{equal}"
    return f"  {agreement.variant.name:<32}{equal}; rewards differ by up to {agreement.largest_difference:.1e}"
