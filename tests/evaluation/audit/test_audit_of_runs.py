"""The audit of a run, from its measurement to its file, on the fake benchmark."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from audit_samples import STATE
from rich.console import Console

import proctor
from proctor.cli import main
from proctor.engine.input_sketch import NAME
from proctor.errors import Note
from proctor.reports.terminal import print_summary
from proctor.results.audit import TrainedFeature, Training, read_audit
from proctor.results.eval_info import canonical_info
from proctor.results.journal import read_array
from proctor.results.run_dir import RunDirectory
from proctor.results.run_status import RunStatus
from proctor.testing.fakes import FAKE_BENCHMARK, FakePolicy

CONFIGURED = """
import numpy as np

def act(observation):
    return np.full(2, 3.0)
"""


class Trained(FakePolicy):
    """A policy that tells of a training in which the state was near ``centre``."""

    def __init__(self, centre=0.0):
        super().__init__()
        self._centre = centre

    def training(self):
        statistics = {"mean": [self._centre] * 2, "std": [1.5] * 2}
        return Training({STATE: TrainedFeature("STATE", (2,), statistics)})


def evaluate(directory, policy=None, *, faults=None, **fields):
    scratch = directory.with_name(f"{directory.name}-faults")
    scratch.mkdir(parents=True, exist_ok=True)
    env = {"type": FAKE_BENCHMARK, "max_steps": 40, "faults": faults or {}, "scratch": str(scratch)}
    return proctor.evaluate(
        policy or Trained(), env, output_dir=directory, **{"n_episodes": 3, "batch_size": 1, **fields}
    )


def canonical(result):
    """The results; the fingerprint holds the folder of this test."""
    return {**canonical_info(result.info), "fingerprint": None}


def arrays_of(result, *, without=()):
    """Every array of every episode, as bytes."""
    return {
        (record.key, name): read_array(record, name).tobytes()
        for journal in RunDirectory(result.directory).read_journals()
        for record in journal.episodes
        for name in record.arrays
        if name not in without
    }


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    return evaluate(tmp_path_factory.mktemp("audited") / "run")


@pytest.fixture(scope="module")
def miswired(tmp_path_factory):
    """A run whose state lies far from that of the training."""
    return evaluate(tmp_path_factory.mktemp("miswired") / "run", Trained(100.0))


def test_results_are_the_same_with_and_without_the_audit(audited, tmp_path):
    """All that differs are the sketches in the journal, and the file of the audit."""
    without = evaluate(tmp_path / "without", audit=False)

    assert canonical(without) == canonical(audited)
    assert arrays_of(without) == arrays_of(audited, without=[NAME])
    assert len(arrays_of(audited)) > len(arrays_of(without))
    files = {path.name for path in audited.directory.iterdir()}
    assert files - {path.name for path in without.directory.iterdir()} == {"audit.json"}


def test_sketches_and_audit_do_not_depend_on_workers_or_their_deaths(audited, tmp_path):
    faults = {"0/1001/2": "kill", "1/1000/1": "raise"}

    other = evaluate(tmp_path / "other", batch_size=3, faults=faults)

    assert sum(len(episode["errors"]) for episode in other.info["per_episode"]) == 2
    assert canonical(other) == canonical(audited)
    assert arrays_of(other) == arrays_of(audited)
    assert read_audit(other.directory) == read_audit(audited.directory)


def test_a_run_that_is_continued_has_the_sketches_of_both_sessions(audited, tmp_path):
    evaluate(tmp_path / "run", n_episodes=1)

    result = evaluate(tmp_path / "run", n_episodes=3)

    assert arrays_of(result) == arrays_of(audited)
    assert read_audit(result.directory) == read_audit(audited.directory)


def test_an_audit_that_is_lost_is_made_again_from_the_journal(miswired):
    before = read_audit(miswired.directory)
    assert before is not None
    assert {finding.check for finding in before.findings} >= {"far"}
    (miswired.directory / "audit.json").unlink()

    assert main(["audit", str(miswired.directory)]) == 0  # nothing is known of the training without a checkpoint
    assert read_audit(miswired.directory).n_episodes == before.n_episodes

    (miswired.directory / "audit.json").write_bytes(json.dumps(_plain(before)).encode())
    assert main(["audit", str(miswired.directory)]) == 6  # the training is that of the audit before
    assert read_audit(miswired.directory) == before


def _plain(audit):
    import msgspec

    return msgspec.to_builtins(audit)


def test_the_command_prints_findings_as_a_table_or_as_json(miswired, capsys):
    assert main(["audit", str(miswired.directory)]) == 6
    table = capsys.readouterr().out
    assert main(["audit", str(miswired.directory), "--json"]) == 6
    found = json.loads(capsys.readouterr().out)

    assert "observation.state[0] is" in " ".join(table.split())
    assert found["findings"][0]["check"] == "far"
    assert "histograms" not in found


def test_the_final_block_has_one_line_where_something_is_wrong(audited, miswired):
    def printed(result):
        buffer = io.StringIO()
        print_summary(Console(file=buffer, width=300), result.summary, RunStatus.of(result.directory))
        return [line for line in buffer.getvalue().splitlines() if line.startswith("Inputs:")]

    (line,) = printed(miswired)

    assert "observation.state[0] is" in line
    assert f"proctor audit {miswired.directory}" in line
    assert not printed(audited)


def test_a_dataset_that_cannot_be_read_costs_a_note_and_no_result(tmp_path):
    pytest.importorskip("lerobot")
    from proctor.config import DatasetConfig
    from proctor.evaluation.audit.runs import keep_audit
    from proctor.evaluation.prepared_run import prepare
    from proctor.evaluation.run import configure

    result = evaluate(tmp_path / "run")
    config, policy = configure(Trained(), FAKE_BENCHMARK, output_dir=tmp_path / "run")
    (tmp_path / "nothing").mkdir()
    object.__setattr__(config, "dataset", DatasetConfig(repo_id="a/b", root=str(tmp_path / "nothing")))
    records = [record for journal in RunDirectory(tmp_path / "run").read_journals() for record in journal.episodes]

    with pytest.warns(Note, match=r"holds no LeRobotDataset.*Try again with: proctor audit"):
        keep_audit(result.directory, prepare(config, policy).config, policy, records, 2)


def test_shards_keep_the_sketches_too(tmp_path, monkeypatch):
    """They come with the results of their episodes, and are those of a serial run."""
    (tmp_path / "audited_policy.py").write_text(CONFIGURED)
    monkeypatch.syspath_prepend(str(tmp_path))
    options = [
        *("--policy.type=function", "--policy.function=audited_policy:act", f"--env.type={FAKE_BENCHMARK}"),
        *("--env.max_steps=30", "--eval.n_episodes=2", "--eval.batch_size=1", "--eval.video=none"),
    ]

    assert main(["eval", *options, f"--output_dir={tmp_path / 'serial'}"]) == 0
    assert main(["parallel", *options, "--launcher=inline", "--num-shards=2", f"--output_dir={tmp_path / 'two'}"]) == 0

    serial, two = read_audit(tmp_path / "serial"), read_audit(tmp_path / "two")
    assert serial is not None
    assert {finding.check for finding in serial.findings} >= {"outside of bounds"}
    assert serial == two


def test_what_is_measured_is_what_the_policy_saw(tmp_path):
    """The first row of the sketch is the first observation, with the step of each, and so is the first image."""
    seen = []

    class Looking(Trained):
        def predict(self, observations, memories):
            seen.extend({key: array[-1].copy() for key, array in each.arrays.items()} for each in observations)
            return super().predict(observations, memories)

    result = evaluate(tmp_path / "run", Looking(), n_episodes=1)
    from proctor.engine.input_sketch import InputSketch

    records = [r for j in RunDirectory(result.directory).read_journals() for r in j.episodes]
    sketches = [InputSketch.from_array(read_array(record, NAME)) for record in records]
    first, longest = sketches[0], max(sketches, key=lambda sketch: sketch.n_looks)

    assert longest.steps == tuple(range(0, 3 * longest.n_looks, 3))
    assert longest.n_looks > 1
    assert np.array_equal(first.vectors[STATE].rows.unpack()[0], seen[0][STATE].astype(np.float32))
    assert np.array_equal(first.images["observation.image"].thumbnails.unpack()[0], seen[0]["observation.image"])
