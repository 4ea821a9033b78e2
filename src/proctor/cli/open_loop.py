"""``proctor open-loop``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console

from proctor.cli.output import print_json
from proctor.cli.run_names import chosen_run
from proctor.config import OpenLoopConfig

if TYPE_CHECKING:
    from proctor.evaluation.open_loop import Beside, Outcome, PreparedOpenLoop
    from proctor.reports.open_loop import EpisodePlot
    from proctor.results.open_loop import OpenLoopResult

_PAGE = "open_loop.html"


def open_loop_command(  # noqa: D417 - OpenLoopConfig describes its own
    *,
    config: Annotated[OpenLoopConfig, Parameter(name="*")],
    beside: Path | None = None,
    plots: int = 6,
    dataset_convert: bool = False,
    json: bool = False,
) -> int:
    """Compare a policy's predictions on recorded observations with the recorded actions.

    Nothing is simulated: the policy looks at every n_action_steps-th step of the recorded episodes, and its actions are
    compared with those that were recorded, by number of the action, position in the chunk, task and episode. The output
    directory holds open_loop.json, a file for each episode, and, with the extra report, open_loop.html.

    Parameters
    ----------
    beside
        A run in a simulator, or a part of its name, beside which a verdict is given; without --policy, its policy is
        used.
    plots
        The number of episodes that the page draws, from the worst to the best.
    dataset_convert
        Convert a dataset of the v2.1 format, on a copy in the output directory.
    json
        Print the content of open_loop.json.
    """
    from proctor.evaluation.open_loop import Beside
    from proctor.reports.open_loop import print_open_loop
    from proctor.results.open_loop import as_json

    run = None if beside is None else Beside.read(chosen_run(beside))
    config = config if run is None else run.with_policy(config)
    prepared = _prepare(config, run, convert=dataset_convert)
    outcome = _evaluate(prepared)
    if outcome.result is not None:
        title = _title(prepared)
        _write_page(outcome, outcome.result, title, plots)
        if json:
            print_json(as_json(outcome.result))
        else:
            print_open_loop(Console(), title, outcome.result, prepared.directory)
    if outcome.stopped is not None:
        outcome.stopped.hint = _hint(outcome)
        raise outcome.stopped
    return 0


def _prepare(config: OpenLoopConfig, beside: Beside | None, *, convert: bool) -> PreparedOpenLoop:
    """Find the policy and open the dataset; what libraries print meanwhile is dropped."""
    from proctor.evaluation.open_loop import choose_policy, prepare_open_loop
    from proctor.reports.output import printing_into

    policy = choose_policy(config)
    with TemporaryDirectory() as folder, printing_into(Path(folder, "log")) as console:
        shown = console if config.display == "auto" else Console(quiet=True)
        with shown.status("Opening the dataset…"):
            return prepare_open_loop(config, policy, beside, convert=convert)


def _evaluate(prepared: PreparedOpenLoop) -> Outcome:
    """Run the evaluation with a display of its progress; what libraries print goes into a log in its directory."""
    from proctor.evaluation.open_loop import evaluate_open_loop
    from proctor.reports.display import make_display
    from proctor.reports.output import printing_into
    from proctor.reports.progress import Stage

    began = monotonic()
    with (
        printing_into(prepared.directory / "open_loop.log") as console,
        make_display(console, prepared.config.display, _title(prepared)) as display,
    ):
        return evaluate_open_loop(
            prepared, lambda done, total: display.update(Stage("recorded steps", done, total, monotonic() - began))
        )


def _title(prepared: PreparedOpenLoop) -> str:
    from proctor.reports.text import policy_name

    dataset = prepared.config.dataset
    return f"{policy_name(prepared.config.policy)} on {dataset.repo_id}, {len(prepared.recordings.episodes)} episodes"


def _hint(outcome: Outcome) -> str:
    n_done = 0 if outcome.result is None else len(outcome.result.episodes)
    return (
        f"{n_done} of {len(outcome.recordings.episodes)} episodes are done; go on with the same command and "
        f"--output_dir={outcome.directory.path}"
    )


def _write_page(outcome: Outcome, result: OpenLoopResult, title: str, n_plots: int) -> None:
    """Write ``open_loop.html`` if the extra for reports is installed."""
    from importlib.util import find_spec

    if find_spec("matplotlib") is None or find_spec("jinja2") is None:
        return
    from proctor.reports.html.open_loop import render_open_loop
    from proctor.results.files import replacing

    page = render_open_loop(title, result, list(_plots(outcome, result, n_plots)), list(_facts(outcome)))
    with replacing(outcome.directory.path / _PAGE) as file:
        file.write(page.encode())


def _plots(outcome: Outcome, result: OpenLoopResult, n: int) -> Iterator[EpisodePlot]:
    from proctor.reports.open_loop import EpisodePlot, choose_plots

    chosen = {each.episode_index: each for each in choose_plots(result.episodes, n)}
    names, spans = outcome.recordings.actions.names, [each.std or 0.0 for each in result.dimensions]
    for index, found in outcome.predictions(list(chosen)):
        truth, predicted = found.truth.T.tolist(), found.executed.T.tolist()
        yield EpisodePlot(index, chosen[index].task, names, spans, truth, predicted, found.starts.tolist())


def _facts(outcome: Outcome) -> Iterator[tuple[str, str]]:
    import shlex

    run, made = outcome.run, outcome.run.provenance
    yield "command", shlex.join(run.command)
    yield "begun", str(made["date"])
    for part in ("policy", "dataset", "inference"):
        values = (run.opened_policy or run.fingerprint[part]) if part == "policy" else run.fingerprint[part]
        yield from ((f"{part} {name}", str(value)) for name, value in values.items() if value not in (None, {}))
    yield "seed", str(run.fingerprint["seed"])
    yield "directory of the dataset", str(outcome.recordings.directory)
    yield "machine", f"{made['cpu']}, {made['usable_cores']} cores; {made['platform']}"
    yield "packages", ", ".join(f"{name} {version}" for name, version in made["packages"].items() if version)
