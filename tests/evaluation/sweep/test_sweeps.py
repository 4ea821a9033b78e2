"""Real checkpoints of a training, one after another."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import pytest

import proctor
from checkpoint_makers import checkpoints
from proctor.cli import main
from proctor.results.eval_info import canonical_info
from training_samples import make_dataset, training_command

EVALUATION = ["--env.type=pusht", "--env.episode_length=12", "--eval.n_episodes=3", "--eval.video=none"]
EVALUATION += ["--eval.display=none", "--eval.batch_size=2"]


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """Two policy types at three steps each in one folder; the link leads to the last step."""
    folder = tmp_path_factory.mktemp("train")
    for name, make in (("act", checkpoints.make_act), ("diffusion", checkpoints.make_diffusion)):
        for step in (1000, 2000, 10_000):
            make(folder / name / "checkpoints" / f"{step:06d}" / "pretrained_model", seed=step)
        (folder / name / "checkpoints" / "last").symlink_to("010000")
    return folder


def record(folder: Path):
    return json.loads((folder / "sweep.json").read_text())


def episodes(path: Path):
    """The episodes in an ``eval_info.json``, with their times."""
    return json.loads(path.read_text())["per_episode"]


def canonical(info):
    """The results of ``eval_info.json``, without how they were come by."""
    return json.loads(json.dumps(canonical_info(info)))


@pytest.fixture(scope="module")
def swept(training, tmp_path_factory):
    """All six, by the command, with a link to the best and a page in Markdown."""
    folder = tmp_path_factory.mktemp("swept") / "sweep"
    command = ["sweep", str(training / "act"), str(training / "diffusion"), *EVALUATION, f"--output_dir={folder}"]
    assert main([*command, "--pick=best", f"--link={folder / 'best'}", f"--markdown={folder / 'page.md'}"]) == 0
    return folder


def test_each_result_is_that_of_an_evaluation_of_its_own(training, swept):
    """To the bit, whatever was evaluated before it with the same workers; types may differ."""
    rows = record(swept)["checkpoints"]

    assert [(row["series"], row["step"]) for row in rows] == [
        (series, step) for series in ("act", "diffusion") for step in (1000, 2000, 10_000)
    ]
    assert {row["status"] for row in rows} == {"done"}
    for row in rows[1:5:3]:
        alone = proctor.evaluate(
            {"path": row["path"]}, {"type": "pusht", "episode_length": 12}, n_episodes=3, batch_size=1
        )
        info = json.loads((swept / row["run_dir"] / "eval_info.json").read_text())
        assert canonical(info)["per_episode"] == canonical(alone.info)["per_episode"]


def test_the_link_leads_to_the_best_checkpoint_and_the_pages_show_all(swept):
    """A run directory is an ordinary one."""
    best = record(swept)["verdict"]
    page, html = (swept / "page.md").read_text(), (swept / "sweep.html").read_text()

    assert (swept / "best").resolve() == Path(best["path"])
    assert (swept / "best" / "config.json").is_file()
    assert page.count("| act |") == page.count("| diffusion |") == 3
    assert "<svg" in html
    assert main(["compare", str(swept / "act-001000"), str(swept / "act-010000")]) == 0


def test_a_failed_checkpoint_is_told_and_tried_again(training, tmp_path, capsys):
    """The others are evaluated; once it is repaired, the same command evaluates it alone."""
    run, folder = tmp_path / "act", tmp_path / "sweep"
    shutil.copytree(training / "act", run, symlinks=True)
    weights = run / "checkpoints" / "002000" / "pretrained_model" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    command = ["sweep", str(run), *EVALUATION, f"--output_dir={folder}"]

    assert main(command) == 3
    assert capsys.readouterr().out.count("002000  failed: ") == 2, "it was tried once more at the end"
    assert [row["status"] for row in record(folder)["checkpoints"]] == ["done", "failed", "done"]
    before = {path: episodes(path) for path in folder.glob("*/eval_info.json")}

    weights.write_bytes(whole)
    assert main(command) == 0
    assert [row["status"] for row in record(folder)["checkpoints"]] == ["done"] * 3
    assert {path: episodes(path) for path in before} == before, "nothing ran twice, or its times would differ"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--policy.path=x"], "policy.path is given, but the checkpoints of a sweep are its targets"),
        (["--pick=best"], "--pick and --link belong together"),
        (["--pick=worst", "--link=x"], "it is one of best"),
        (["--newest_first"], "is for --watch"),
    ],
)
def test_options_that_make_no_sense_are_refused(training, tmp_path, capsys, options, reason):
    """Before anything runs."""
    assert main(["sweep", str(training / "act"), *EVALUATION, f"--output_dir={tmp_path / 'x'}", *options]) == 2
    assert reason in capsys.readouterr().err


def test_an_existing_file_is_not_replaced_by_the_link(swept, training, tmp_path, capsys):
    """Only a link is."""
    (tmp_path / "best").write_text("mine")
    command = ["sweep", str(training / "act"), str(training / "diffusion"), *EVALUATION, f"--output_dir={swept}"]

    assert main([*command, "--pick=best", f"--link={tmp_path / 'best'}"]) == 2
    assert "exists and is not a link" in capsys.readouterr().err
    assert (tmp_path / "best").read_text() == "mine"


def wait_for(condition, limit_s=240.0):
    """Wait until a condition holds."""
    end = monotonic() + limit_s
    while not condition():
        assert monotonic() < end, "it never came true"
        sleep(0.2)


def start(command, log):
    """Start a command of this repository in a process group of its own."""
    with log.open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)


def test_a_training_is_watched_while_it_runs(tmp_path):
    """Every checkpoint that LeRobot's script writes is evaluated. A signal ends the sweep; the same command goes on."""
    dataset, run, folder = make_dataset(tmp_path / "data"), tmp_path / "run", tmp_path / "sweep"
    command = [sys.executable, "-m", "proctor", "sweep", str(run), "--watch", *EVALUATION, f"--output_dir={folder}"]
    log = tmp_path / "sweep.log"
    watching = start(command, log)
    training = start(training_command(dataset, run, 6, 2), tmp_path / "train.log")
    try:

        def done():
            rows = record(folder)["checkpoints"] if (folder / "sweep.json").exists() else []
            return [row["step"] for row in rows if row["status"] == "done"]

        wait_for(lambda: done() or watching.poll() is not None or training.poll() not in {None, 0})
        assert training.wait(240) == 0, (tmp_path / "train.log").read_text()[-2000:]
        os.killpg(watching.pid, signal.SIGTERM)
        assert watching.wait(120) == 143, log.read_text()
        assert f"--output_dir={folder}" in log.read_text()
        shutil.rmtree(run / "checkpoints" / f"{done()[0]:06d}")

        again = start([*command, "--stop_after_idle_s=0"], log)
        assert again.wait(240) == 0, log.read_text()
        assert done() == [2, 4, 6]
    finally:
        for process in (watching, training):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture(scope="module")
def racers(tmp_path_factory):
    """The bundled checkpoint, which reaches, and the same with noise in its weights, which does not."""
    import torch
    from safetensors.torch import load_file, save_file

    bundled, folder = Path(__file__).parents[3] / "examples" / "metaworld_act", tmp_path_factory.mktemp("racers")
    for name in ("trained", "noisy"):
        shutil.copytree(bundled, folder / name)
    weights, generator = load_file(bundled / "model.safetensors"), torch.Generator().manual_seed(0)
    noisy = {
        name: value + torch.randn(value.shape, generator=generator) * value.abs().mean() * 3
        if value.is_floating_point() and value.dim() > 1
        else value
        for name, value in weights.items()
    }
    save_file(noisy, folder / "noisy" / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_race_of_real_policies_ends_as_soon_as_it_is_decided(racers, tmp_path, capsys):
    """The run directories are ordinary ones, so they can be compared; the same command has nothing more to do."""
    folder = tmp_path / "race"
    command = ["race", str(racers / "trained"), str(racers / "noisy"), "--env.type=metaworld", "--env.task=reach-v3"]
    command += ["--env.episode_length=150", "--eval.n_episodes=60", "--eval.video=none", "--eval.display=none"]

    assert main([*command, f"--output_dir={folder}"]) == 0

    out = capsys.readouterr().out
    assert "trained is the best" in out
    found = json.loads((folder / "race.json").read_text())
    assert found["winner"] == "trained"
    assert found["n_episodes"] < found["n_episodes_planned"] == 120
    assert main(["compare", str(folder / "trained"), str(folder / "noisy")]) == 0
    assert main([*command, f"--output_dir={folder}"]) == 0
    assert json.loads((folder / "race.json").read_text()) == found
