"""``proctor sweep``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from proctor.cli.checkpoints import again, require_targets, rows_of, show_checkpoint, with_output_dir
from proctor.cli.ci import append_text
from proctor.cli.eval import ERRORS_REMAIN
from proctor.cli.parallel import launcher_fields, number_of_shards, print_losses, sharding_of
from proctor.config import RunConfig, WatchConfig
from proctor.errors import ConfigError, Interrupted
from proctor.parallel.launchers.ray.options import RayOptions
from proctor.parallel.launchers.slurm.options import SlurmOptions

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from proctor.evaluation.result import EvalResult
    from proctor.evaluation.sweep import Sweep, SweepVerdict, SweptCheckpoint
    from proctor.evaluation.sweep.sweep import RunsInTurn
    from proctor.reports.sweep import SweepRow, SweepSummary

_NOTHING = RunConfig()
_NOT_WATCHING = WatchConfig()
_NO_RAY_OPTIONS = RayOptions()
_NO_SLURM_OPTIONS = SlurmOptions()
_PICKS = ("best",)


def sweep_command(  # noqa: D417, PLR0913 - the command's flags; the classes of options describe their own
    *targets: str,
    config: Annotated[RunConfig, Parameter(name="*")] = _NOTHING,
    pick: str | None = None,
    link: Path | None = None,
    markdown: Path | None = None,
    race: bool = False,
    launcher: str | None = None,
    num_shards: str | None = None,
    watching: Annotated[WatchConfig, Parameter(name="*")] = _NOT_WATCHING,
    ray: Annotated[RayOptions, Parameter(name="*")] = _NO_RAY_OPTIONS,
    slurm: Annotated[SlurmOptions, Parameter(name="*")] = _NO_SLURM_OPTIONS,
) -> int:
    """Evaluate every checkpoint of a training on the same episodes, and say which is the best.

    The workers and their simulators are kept from one checkpoint to the next. Each checkpoint has a run directory below
    the output directory, which also holds sweep.json, sweep.csv and, with the extra report, sweep.html. The same
    command with the same --output_dir goes on with what is missing, and tries again what failed.

    Parameters
    ----------
    targets
        Training directories (outputs/train/RUN), checkpoints directories, checkpoints, patterns of these, or
        repositories of the Hub with a revision (USER/REPO@REVISION).
    config
        The options of proctor eval, without --policy.path.
    pick
        With --link: which checkpoint the link leads to: best.
    link
        Make this symbolic link to the checkpoint that --pick names.
    markdown
        Append the table in Markdown to this file, for example "$GITHUB_STEP_SUMMARY".
    race
        Stop as soon as it is known which is the best, as proctor race does.
    launcher
        Evaluate each checkpoint in shards, as proctor parallel with this launcher does; in one process if not given.
    num_shards
        With --launcher: number of shards for each checkpoint.
    """
    from proctor.evaluation.sweep import Sweep, Watcher, find_checkpoints, watch_and_evaluate
    from proctor.evaluation.terminal import stopped_by_signals
    from proctor.reports.trackers import check_trackers

    _require(targets, pick, link)
    how = _launcher(launcher, num_shards, ray, slurm)
    if race:
        return _race(targets, config, markdown, exclude=pick or watching.watch or launcher)
    check_trackers(config)
    checkpoints = [] if watching.watch else find_checkpoints(targets)
    config = with_output_dir(config, targets[0])
    folder = Path(str(config.output_dir))
    with _evaluator(config, how) as evaluator:
        sweep = Sweep(config, folder, evaluator, lambda swept, result: _show(swept, result, config))
        sweep.add(checkpoints)
        try:
            with stopped_by_signals(sweep):
                if watching.watch:
                    watch_and_evaluate(sweep, Watcher(targets), watching, _say_waiting)
                elif failed := sweep.evaluate(checkpoints):
                    sweep.evaluate(failed)
        except Interrupted as interruption:
            _write_page(folder, rows_of(sweep.swept, sweep.verdict), _summary(sweep.verdict))
            interruption.hint = f"{_n_done(sweep)} of {len(sweep.swept)} checkpoints are done; {again(folder)}"
            raise
    return _conclude(sweep, folder, link, markdown)


def _require(targets: tuple[str, ...], pick: str | None, link: Path | None) -> None:
    """Check the command's own flags.

    Raises:
        ConfigError: one is missing, or has a value that it cannot have.
    """
    require_targets(targets)
    if (pick is None) != (link is None):
        raise ConfigError("--pick and --link belong together: --pick best --link outputs/best.")
    if pick is not None and pick not in _PICKS:
        raise ConfigError(f"--pick is '{pick}'; it is one of {', '.join(_PICKS)}.")


def _launcher(
    launcher: str | None, num_shards: str | None, ray: RayOptions, slurm: SlurmOptions
) -> Mapping[str, Any] | None:
    """Return how each checkpoint is divided into shards; None if it is evaluated in one process.

    Raises:
        ConfigError: a launcher or a number of shards is missing, or the launcher's options are wrong.
    """
    if (launcher is None) != (num_shards is None):
        raise ConfigError("--launcher and --num-shards belong together: --launcher slurm --num-shards 4.")
    if num_shards == "auto":
        raise ConfigError("--num-shards is auto, which measures one policy; give a sweep a number.")
    fields = launcher_fields(launcher or "", num_shards or "", None, ray, slurm)
    return None if num_shards is None else {"num_shards": number_of_shards(num_shards), **fields}


def _evaluator(config: RunConfig, how: Mapping[str, Any] | None) -> AbstractContextManager[RunsInTurn]:
    """Return what evaluates one checkpoint after another."""
    from contextlib import nullcontext

    from proctor.evaluation.evaluator import Evaluator
    from proctor.parallel.evaluator import ShardedEvaluator

    if how is None:
        return Evaluator(config.env, seed=config.seed, trust_remote_code=config.trust_remote_code)
    return nullcontext(ShardedEvaluator(sharding_of(config, **how)))


def _race(targets: tuple[str, ...], config: RunConfig, markdown: Path | None, *, exclude: object) -> int:
    from proctor.cli.race import hold_race

    if exclude:
        raise ConfigError(
            "--race does not go together with --pick, --watch and --launcher; leave it out, or leave them out."
        )
    return hold_race(targets, config, markdown)


def _show(swept: SweptCheckpoint, result: EvalResult | None, config: RunConfig) -> None:
    if result is not None:
        print_losses(result)
    show_checkpoint(swept, result, config)


def _say_waiting() -> None:
    Console(stderr=True).print("Waiting for the next checkpoint; Ctrl-C ends the sweep.", style="dim")


def _n_done(sweep: Sweep) -> int:
    return sum(each.status == "done" for each in sweep.swept)


def _conclude(sweep: Sweep, folder: Path, link: Path | None, markdown: Path | None) -> int:
    """Print the table and the verdict, write the pages, make the link, and return the exit status."""
    from proctor.reports.markdown import sweep_markdown
    from proctor.reports.sweep import sweep_lines, sweep_table
    from proctor.reports.text import safe

    verdict = sweep.verdict
    rows, summary = rows_of(sweep.swept, verdict), _summary(verdict)
    console = Console()
    console.print()
    console.print(sweep_table(rows))
    console.print()
    for line in sweep_lines(summary):
        console.print(line, soft_wrap=True)
    console.print("", safe(f"Results     {folder}"), sep="\n", soft_wrap=True)
    _write_page(folder, rows, summary)
    if markdown is not None:
        append_text(markdown, sweep_markdown(rows, summary))
    if link is not None:
        _link(verdict, link)
    return ERRORS_REMAIN if any(each.status != "done" for each in sweep.swept) else 0


def _summary(verdict: SweepVerdict | None) -> SweepSummary | None:
    from proctor.reports.sweep import SweepSummary

    if verdict is None:
        return None
    assert verdict.best.rate is not None  # else it would not be the best
    like = [each.checkpoint.name for each in verdict.like_best]
    return SweepSummary(verdict.best.checkpoint.name, verdict.best.rate, verdict.interval, like, verdict.n_compared)


def _write_page(folder: Path, rows: list[SweepRow], summary: SweepSummary | None) -> None:
    """Write ``sweep.html`` if the extra for reports is installed."""
    from importlib.util import find_spec

    if find_spec("matplotlib") is None or find_spec("jinja2") is None:
        return
    from proctor.reports.html import render_sweep
    from proctor.results.files import replacing

    with replacing(folder / "sweep.html") as file:
        file.write(render_sweep(rows, summary).encode())


def _link(verdict: SweepVerdict | None, link: Path) -> None:
    from proctor.evaluation.sweep.sweep import link_to
    from proctor.reports.text import safe

    if verdict is None:
        raise ConfigError("No checkpoint has a success rate, so that none is the best; the link was not made.")
    link_to(verdict.best.checkpoint, link)
    Console().print(safe(f"Link        {link} leads to {verdict.best.checkpoint.path}"), soft_wrap=True)
