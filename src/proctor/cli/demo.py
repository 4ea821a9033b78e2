"""``proctor demo``."""

from __future__ import annotations

import shlex
from importlib.util import find_spec
from pathlib import Path

from proctor.cli.eval import conclude, show
from proctor.config import EvalConfig, RunConfig
from proctor.errors import MissingExtraError

_EXTRA = "demo"
_CHECKPOINT = "metaworld_act"
_TASKS = "reach-v3,button-press-topdown-v3,coffee-button-v3"
_CHECKOUT = Path(__file__).resolve().parents[3] / "examples"


def demo_command(*, n_episodes: int = 10, output_dir: str | None = None, view: bool = False) -> int:
    """Evaluate the bundled checkpoint, a small ACT policy, on three tasks of Meta-World, with videos.

    It takes about a minute on two cores, and needs neither a GPU nor a display. Of the 30 episodes 26 succeed on the
    machines on which it was tested.

    Parameters
    ----------
    n_episodes
        The number of episodes of each task.
    output_dir
        The run directory; the default is a new one in outputs/eval.
    view
        Start the viewer afterwards, and print its address; Ctrl-C ends it.
    """
    _require_packages()
    checkpoint = bundled_checkpoint()

    from proctor.evaluation.prepared_run import prepare
    from proctor.evaluation.run import run

    config = RunConfig(
        policy={"path": str(checkpoint)},
        env={"type": "metaworld", "task": _TASKS, "episode_length": 200},
        eval=EvalConfig(n_episodes=n_episodes, n_episodes_to_render=min(3, n_episodes)),
        output_dir=output_dir,
    )
    status = conclude(run(prepare(config), show), config)
    return status or _show_in_browser(Path(output_dir or "outputs"), start=view)


def _require_packages() -> None:
    for name, module in (("Meta-World", "metaworld"), ("LeRobot", "lerobot")):
        if find_spec(module) is None:
            raise MissingExtraError(f"{name}, which the demonstration needs,", _EXTRA)


def bundled_checkpoint() -> Path:
    """Return the directory of the bundled checkpoint, in a checkout or in the distribution that contains it alone.

    Raises:
        MissingExtraError: it is in neither.
    """
    data = find_spec("proctor_eval_demo")  # it contains no code
    folders = [_CHECKOUT, *map(Path, data.submodule_search_locations or () if data else ())]
    for folder in folders:
        if (folder / _CHECKPOINT / "config.json").is_file():
            return folder / _CHECKPOINT
    raise MissingExtraError("The demonstration's checkpoint", _EXTRA)


def _show_in_browser(directory: Path, *, start: bool) -> int:
    """Start the viewer, or print how it is started and what its address will be."""
    from rich.console import Console

    from proctor.cli.view import PORT, view_command

    if start:
        return view_command(directory)
    command = f"proctor view {shlex.quote(str(directory))}"
    Console().print(f"Viewer      {command} shows it at http://127.0.0.1:{PORT}/", soft_wrap=True, highlight=False)
    return 0
