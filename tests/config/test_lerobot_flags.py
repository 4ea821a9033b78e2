"""LeRobot's own options: taken with a note, or refused with what to use instead."""

from __future__ import annotations

import pytest

from proctor.config import structure
from proctor.config.lerobot_flags import without_lerobots
from proctor.errors import ConfigError, Note
from proctor.evaluation.components import make_benchmark


@pytest.mark.parametrize(
    "field",
    [
        {"fps": 10},
        {"hard_reset": "false"},
        {"render-mode": "rgb_array"},
        {"disable_env_checker": True},
        {"multitask_eval": True},
    ],
    ids=str,
)
def test_a_field_without_effect_is_taken_with_a_note(field):
    """The benchmark is the one that it would be without it."""
    with pytest.warns(Note, match=r"LeRobot's --env\.\w+ has no effect: "):
        benchmark, _ = make_benchmark({"type": "pusht", **field})

    assert benchmark.config == make_benchmark({"type": "pusht"})[0].config


@pytest.mark.parametrize(
    ("field", "instead"),
    [
        ({"features": {"a": 1}}, "--rename_map"),
        ({"features_map": "{agent_pos: observation.state}"}, "--rename_map"),
        ({"discover_packages_path": "my_envs"}, "--env.module=PACKAGE"),
        ({"is_libero_plus": "true"}, "--env.type=libero_plus"),
    ],
    ids=str,
)
def test_a_field_that_is_relied_upon_is_refused_with_what_to_use(field, instead):
    """Switched off, it changes nothing and is left out."""
    with pytest.raises(ConfigError, match=instead):
        make_benchmark({"type": "pusht", **field})
    assert make_benchmark({"type": "pusht", **dict.fromkeys(field, "false")})


def test_a_field_that_a_benchmark_has_itself_is_the_benchmarks(recwarn):
    """A plug-in may mean something by ``fps``."""
    assert without_lerobots("env", {"fps": 10}, known={"fps"}) == {"fps": 10}
    assert not recwarn.list


@pytest.mark.parametrize(
    "task", ["reach-v3,push-v3", "reach-v3, push-v3", "[reach-v3, push-v3]", ["reach-v3", "push-v3"]]
)
def test_a_list_is_taken_where_commas_are_meant(task):
    """From a YAML file, a command line or Python."""
    benchmark, _ = make_benchmark({"type": "metaworld", "task": task})

    assert benchmark.config.task_names() == ["reach-v3", "push-v3"]


def test_a_list_is_taken_nowhere_else():
    """A name is not made of several."""
    from proctor.config import RunConfig

    with pytest.raises(ConfigError, match="job_name"):
        structure(RunConfig, {"job_name": ["a", "b"]}, "run")
