"""Which checkpoints a target names."""

from __future__ import annotations

import pytest

from proctor.errors import ConfigError
from proctor.evaluation.sweep import find_checkpoints


def make(run, *steps, model="pretrained_model"):
    for step in steps:
        (run / "checkpoints" / step / model).mkdir(parents=True)
    return run


def named(targets):
    return [(each.series, each.step, each.name) for each in find_checkpoints(list(map(str, targets)))]


def test_steps_are_sorted_by_number_and_last_is_no_further_checkpoint(tmp_path):
    """Padding grows with the steps, so names do not sort."""
    run = make(tmp_path / "act", "1000000", "020000", "002000")
    (run / "checkpoints" / "last").symlink_to("020000")

    expected = [("act", 2000, "002000"), ("act", 20_000, "020000"), ("act", 1_000_000, "1000000")]
    assert named([run]) == named([run / "checkpoints"]) == expected


def test_last_is_what_it_leads_to(tmp_path):
    """Also beside the checkpoint itself, which is there once."""
    run = make(tmp_path / "act", "002000", "004000")
    (run / "checkpoints" / "last").symlink_to("004000")

    assert named([run / "checkpoints" / "last"]) == [("act", 4000, "004000")]
    assert named([run / "checkpoints" / "last" / "pretrained_model"]) == [("act", 4000, "004000")]
    names = [name for _, _, name in named([run, run / "checkpoints" / "last"])]
    assert names == ["act-002000", "act-004000"]


def test_averaged_weights_are_a_series_of_their_own(tmp_path):
    """They lie beside the others."""
    run = make(make(tmp_path / "act", "1000", "2000"), "2000", model="pretrained_model_ema")

    assert named([run]) == [("act", 1000, "1000"), ("act", 2000, "2000"), ("act ema", 2000, "2000-ema")]


def test_several_trainings_have_their_names_in_front(tmp_path):
    """A pattern may grow, so it has them from the start."""
    make(tmp_path / "act one", "1000")
    make(tmp_path / "diffusion", "1000", "2000")

    both = ["act-one-1000", "diffusion-1000", "diffusion-2000"]
    assert [name for _, _, name in named([tmp_path / "act one", tmp_path / "diffusion"])] == both
    assert [name for _, _, name in named([tmp_path / "*"])] == both
    assert [name for _, _, name in named([tmp_path / "*" / "checkpoints" / "2000"])] == ["diffusion-2000"]


def test_equal_names_are_told_apart(tmp_path):
    """Each checkpoint has a run directory of its own."""
    first, second = make(tmp_path / "a" / "run", "1000"), make(tmp_path / "b" / "run", "1000")

    assert [name for _, _, name in named([first, second])] == ["run-1000", "run-1000_2"]


@pytest.mark.parametrize(
    ("target", "step"),
    [("user/act@checkpoints/020000", 20_000), ("user/act@step-500", 500), ("user/act@main", None), ("user/act", None)],
)
def test_a_revision_of_the_hub_may_hold_the_step(target, step):
    """Nothing is asked of the Hub."""
    ((series, found, name),) = named([target])

    assert (series, found) == ("user/act", step)
    assert "/" not in name


def test_any_directory_of_a_policy_is_a_checkpoint(tmp_path):
    """Its step is not known."""
    (tmp_path / "released").mkdir()
    (tmp_path / "released" / "config.json").write_text("{}")

    assert named([tmp_path / "released"]) == [("released", None, "released")]


@pytest.mark.parametrize(("target", "reason"), [("nowhere", "does not exist"), (".", "holds no checkpoint")])
def test_a_target_without_a_checkpoint_is_refused(tmp_path, monkeypatch, target, reason):
    """In one sentence, with what was expected."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConfigError, match=reason):
        find_checkpoints([target])
