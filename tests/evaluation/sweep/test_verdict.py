"""The best of several checkpoints, and those that cannot be told from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proctor.errors import ConfigError
from proctor.evaluation.sweep.record import SweptCheckpoint, read_record, write_record
from proctor.evaluation.sweep.targets import Checkpoint
from proctor.evaluation.sweep.verdict import verdict_of
from proctor.results.summary import summarize
from proctor.types import EpisodeSpec, Task
from result_samples import broken, done, run_info

TASK = Task("zoo", 0, "feed-lion", "", 100)
RUN = run_info(policy={"type": "act"}, env={"type": "zoo"}, eval={})


def swept(step, outcomes, *, folder=Path("/sweep")):
    """A checkpoint whose episodes came out like ``+``, ``-`` and ``!``; ``.`` is missing."""
    specs = [EpisodeSpec("zoo", 0, index, 1000 + index) for index in range(len(outcomes))]
    results = [
        broken(spec) if mark == "!" else done(spec, success=mark == "+")
        for spec, mark in zip(specs, outcomes, strict=True)
        if mark != "."
    ]
    checkpoint = Checkpoint(f"/train/{step}", "act", step, f"{step:06d}")
    return SweptCheckpoint(checkpoint, folder / checkpoint.name, RUN, summarize([TASK], specs, results))


def test_the_best_and_those_that_cannot_be_told_from_it():
    """With an interval that is wider than that of a checkpoint that nobody has chosen."""
    low, middle, high = swept(1000, "-" * 40), swept(2000, "+" * 28 + "-" * 12), swept(3000, "+" * 30 + "-" * 10)

    verdict = verdict_of([low, middle, high])

    assert verdict.best is high
    assert verdict.like_best == (middle,)
    assert verdict.interval.low < high.interval.low
    assert verdict.interval.high == high.interval.high
    assert verdict.as_values()["like_best"] == ["002000"]


def test_of_equal_ones_the_later_is_the_best():
    """It has been trained for longer."""
    assert verdict_of([swept(1000, "++--"), swept(2000, "--++")]).best.checkpoint.step == 2000


def test_a_single_checkpoint_keeps_its_interval():
    """It was not chosen."""
    one = swept(1000, "+++-")

    assert verdict_of([one]).interval == one.interval


@pytest.mark.parametrize(("outcomes", "status"), [("++.", "unfinished"), ("++!", "failed")])
def test_what_is_not_measured_is_not_the_best(outcomes, status):
    """Episodes that are missing or in error could be anything."""
    partly = swept(2000, outcomes)

    assert partly.status == status
    assert partly.rate is None
    assert verdict_of([partly]) is None
    assert verdict_of([swept(1000, "---"), partly]).best.checkpoint.step == 1000


def test_the_record_names_every_checkpoint_and_is_read_again(tmp_path):
    """Its run directories hold the results."""
    rows = [swept(1000, "++--", folder=tmp_path), swept(2000, "+++!", folder=tmp_path)]

    write_record(tmp_path, rows, verdict_of(rows).as_values())

    record = json.loads((tmp_path / "sweep.json").read_text())
    assert [row["step"] for row in record["checkpoints"]] == [1000, 2000]
    assert record["checkpoints"][0]["pc_success"] == 50.0
    assert record["checkpoints"][0]["run_dir"] == "001000"
    assert record["verdict"]["best"] == "001000"
    lines = (tmp_path / "sweep.csv").read_text().splitlines()
    assert lines[0].startswith("series,step,status,pc_success,")
    assert lines[2].startswith("act,2000,failed,,,,3,3,1,")
    assert read_record(tmp_path) == [each.checkpoint for each in rows]


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"checkpoints": [{"series": 1}]}', b"\xff"])
def test_a_damaged_record_is_one_sentence(tmp_path, content):
    """With what to do."""
    (tmp_path / "sweep.json").write_bytes(content)

    with pytest.raises(ConfigError, match="remove it to list the sweep anew"):
        read_record(tmp_path)


def test_a_record_cannot_lead_out_of_the_sweep(tmp_path):
    """Somebody else may have written it."""
    row = {"series": "a", "step": 1, "path": "/x", "run_dir": "../../etc"}
    (tmp_path / "sweep.json").write_text(json.dumps({"checkpoints": [row]}))

    assert [each.name for each in read_record(tmp_path)] == ["etc"]
