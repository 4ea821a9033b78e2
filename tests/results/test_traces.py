"""Traces of episodes: what a page draws is what was recorded, and what cannot be read is not there."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from proctor.reports.html import read_report_run
from proctor.reports.html.traces import embedded_traces
from proctor.results.journal import read_actions, read_array
from proctor.results.traces import encode_trace, read_trace, records_of, trace_of

STORED = Path(__file__).parents[1] / "data"


def decoded(trace):
    """The values of each channel by name, NaN for a value that is not finite: as the page's script reads them."""
    numbers = np.frombuffer(base64.b64decode(trace["data"]), "<u2").reshape(-1, trace["length"])
    return {
        name: np.where(row == 65535, np.nan, low * (1 - row / 65534) + high * (row / 65534))
        for (name, low, high), row in zip(trace["channels"], numbers, strict=True)
    }


def test_a_trace_holds_what_the_journal_does():
    """Success, reward and each element of the action, in that order."""
    run = read_report_run(STORED / "run_v2")
    for record in records_of(run.path).values():
        spec = record.result.spec
        trace = read_trace(run.path, spec)
        values = decoded(trace)

        actions = read_actions(record)
        assert list(values) == ["success", "reward", *(f"action {n}" for n in range(actions.shape[1]))]
        recorded = [read_array(record, "successes"), read_array(record, "rewards"), *actions.T]
        for drawn, exact in zip(values.values(), recorded, strict=True):
            assert drawn == pytest.approx(exact, abs=float(1e-4 * np.ptp(exact)) + 1e-9)


def test_a_journal_without_rewards_has_actions():
    """The first version of the format."""
    run = read_report_run(STORED / "run_v1")
    spec = next(iter(records_of(run.path).values())).result.spec

    assert {name.split()[0] for name in decoded(read_trace(run.path, spec))} == {"action"}


def test_odd_values_are_drawn_or_left_out():
    """Infinite, not a number, all equal, and as far apart as numbers can be."""
    odd = np.array([np.nan, 1.0, np.inf, 3.0])
    far = np.array([-1.7e308, 1.7e308, 0.0, 0.0])
    values = decoded(
        encode_trace([("odd", odd), ("equal", np.full(4, 7.0)), ("none", np.full(4, np.nan)), ("far", far)])
    )

    assert values["odd"] == pytest.approx([np.nan, 1, np.nan, 3], nan_ok=True)
    assert values["equal"].tolist() == [7] * 4
    assert np.isnan(values["none"]).all()
    assert np.isfinite(encode_trace([("far", far)])["channels"][0][1:]).all()


def test_damaged_actions_are_no_trace(tmp_path):
    """The page shows the rest of the episode."""
    directory = tmp_path / "run"
    shutil.copytree(STORED / "run_v2", directory)
    spec = next(iter(records_of(directory).values())).result.spec
    assert read_trace(directory, spec) is not None

    (directory / "journal.actions.bin").write_bytes(b"")

    assert read_trace(directory, spec) is None


@pytest.mark.parametrize("dtype", ["<U1", "|S4", "<M8[s]", "nothing"])
def test_actions_that_are_no_numbers_are_no_trace(monkeypatch, dtype):
    """A journal may come from anybody."""
    (record, *_) = records_of(STORED / "run_v2").values()
    ref = record.arrays["actions"]
    n_items = ref.n_bytes // (np.dtype(dtype).itemsize if dtype != "nothing" else 4)
    odd = msgspec.structs.replace(ref, dtype=dtype, shape=(n_items, 1))
    monkeypatch.setattr(type(record), "arrays", {"actions": odd})

    assert trace_of(record) is None


def test_a_page_holds_traces_until_it_is_full():
    """Those of both runs for an episode, or neither; the first in the order that is asked for come first."""
    runs = [read_report_run(STORED / name) for name in ("run_v2", "run_v2")]
    specs = [result.spec for result in runs[0].summary.episodes]
    assert len(specs) > 1

    everything = embedded_traces(runs, reversed(specs))
    first = embedded_traces(runs, reversed(specs), most=1)

    assert len(everything) == 2 * len(specs)
    last = specs[-1]
    assert list(first) == [f"{run} {last.suite} {last.task_id} {last.episode_index}" for run in (0, 1)]
