"""Evaluations of a sweep in shards: which commands ask for them, and what they give."""

from __future__ import annotations

import json

import pytest

from proctor.cli import main
from proctor.config import EvalConfig, RunConfig
from proctor.errors import NoResultError
from proctor.evaluation.prepared_run import prepare
from proctor.evaluation.run import run
from proctor.parallel.driver import Sharding
from proctor.parallel.evaluator import ShardedEvaluator
from proctor.results.eval_info import canonical_info
from proctor.testing.fakes import FAKE_BENCHMARK

FAULTS = {"0/1000/1": "raise", "0/1001/1": "raise"}
"""At the first steps of the two episodes of task 0."""


def evaluation(directory, **env):
    return RunConfig(
        policy={"type": "expert"},
        env={"type": FAKE_BENCHMARK, **env},
        eval=EvalConfig(n_episodes=2, batch_size=1, video="none", display="none"),
        output_dir=str(directory),
    )


def results_in(directory):
    return canonical_info(json.loads((directory / "eval_info.json").read_text()))


def test_evaluations_in_turn_are_those_of_one_process(tmp_path):
    """Each runs only when it is called, in shards of its own."""
    names = ("one", "two")
    turns = ShardedEvaluator(Sharding(2, launcher="inline")).in_turn(
        [prepare(evaluation(tmp_path / name, max_steps=10 + len(name))) for name in names]
    )
    assert not list(tmp_path.iterdir())

    for name, turn in zip(names, turns, strict=True):
        result = turn()
        run(prepare(evaluation(tmp_path / "serial" / name, max_steps=10 + len(name))))
        assert result.summary.complete
        assert results_in(tmp_path / name) == results_in(tmp_path / "serial" / name)


def test_an_evaluation_without_any_result_is_the_error_that_a_sweep_expects(tmp_path):
    """It says something of one checkpoint, and the sweep goes on to the next."""
    broken = evaluation(tmp_path, n_tasks=1, times=9, scratch=str(tmp_path), faults=FAULTS)
    (turn,) = ShardedEvaluator(Sharding(1, launcher="inline")).in_turn([prepare(broken)])

    with pytest.raises(NoResultError):
        turn()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--launcher=local"], "--launcher and --num-shards belong together"),
        (["--num-shards=2"], "--launcher and --num-shards belong together"),
        (["--launcher=local", "--num-shards=auto"], "--num-shards is auto, which measures one policy"),
        (["--launcher=local", "--num-shards=2", "--slurm-gres=gpu:1"], "--slurm-gres is for --launcher slurm"),
        (["--launcher=local", "--num-shards=2", "--race"], "--race does not go together with --pick, --watch and"),
    ],
)
def test_flags_that_do_not_belong_together_are_refused(flags, message, tmp_path, capsys):
    """Before any checkpoint is looked for."""
    assert main(["sweep", str(tmp_path), "--env.type=pusht", *flags]) == 2

    assert message in " ".join(capsys.readouterr().err.split())


def test_the_command_hands_the_launcher_to_the_sweep(monkeypatch, tmp_path):
    """Without a launcher it keeps workers of its own."""
    given = []

    class StoppedError(Exception):
        pass

    def sweep(config, folder, evaluator, on_checkpoint):
        given.append(evaluator)
        raise StoppedError

    monkeypatch.setattr("proctor.evaluation.sweep.Sweep", sweep)
    monkeypatch.setattr("proctor.evaluation.sweep.find_checkpoints", lambda targets: [])
    for flags in ([], ["--launcher=inline", "--num-shards=3"]):
        with pytest.raises(StoppedError):
            main(["sweep", str(tmp_path), "--env.type=pusht", f"--output_dir={tmp_path / 'sweep'}", *flags])

    assert type(given[0]).__name__ == "Evaluator"
    assert given[1]._sharding == Sharding(3, launcher="inline")
