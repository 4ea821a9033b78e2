"""Which interpreter simulators run under: the one that is named, this one, or that of an environment."""

from __future__ import annotations

import pytest

from proctor.errors import ConfigError, Note
from proctor.evaluation.components import interpreter_of, make_benchmark
from proctor.interpreters import choice
from proctor.plugins import Requirements
from proctor.security.consent import uninstalled_code

COMPLETE = Requirements({}, (), "")
INCOMPLETE = Requirements({}, ("gym-pusht>=1",), "pip install 'proctor-eval[pusht]'")
FOR_PUSHT = {"benchmarks": '["pusht"]'}


@pytest.fixture
def lacks(monkeypatch):
    """This interpreter lacks what every extra installs."""
    monkeypatch.setattr(choice, "requirements_of", lambda _: INCOMPLETE)


def test_this_interpreter_is_used_if_it_has_what_the_benchmark_needs(recipe_of, create, monkeypatch):
    """Although an environment is there."""
    create(recipe_of(**FOR_PUSHT))
    monkeypatch.setattr(choice, "requirements_of", lambda _: COMPLETE)

    assert interpreter_of("pusht", {}) is None


@pytest.mark.usefixtures("lacks")
def test_else_the_environment_of_the_benchmark_is_used_and_the_user_is_told(recipe_of, create):
    environment = create(recipe_of(**FOR_PUSHT))

    with pytest.warns(Note, match=rf"The simulators run in the environment 'tiny' \(Python .*, {environment.folder}\)"):
        assert interpreter_of("pusht", {}) == str(environment.interpreter)


@pytest.mark.usefixtures("lacks")
def test_without_an_environment_it_is_this_interpreter_that_says_what_is_missing(recipe_of, create):
    create(recipe_of())

    assert interpreter_of("pusht", {}) is None
    assert interpreter_of("unknown", {}) is None


@pytest.mark.usefixtures("lacks")
def test_a_stale_environment_is_not_used_and_the_user_is_told(recipe_of, create):
    create(recipe_of(**FOR_PUSHT))
    recipe = recipe_of(**FOR_PUSHT, check='"import msgspec"')

    with pytest.warns(Note, match=rf"'tiny' is stale; make it anew: proctor env create {recipe.path}"):
        assert interpreter_of("pusht", {}) is None


@pytest.mark.usefixtures("lacks")
def test_of_several_environments_the_one_of_the_benchmarks_name_is_used(recipe_of, create):
    """If none has it, the user must choose."""
    create(recipe_of("one", **FOR_PUSHT))
    create(recipe_of("two", **FOR_PUSHT))
    with pytest.raises(
        ConfigError, match=r"Several environments are for pusht: one, two; choose one with --env.python="
    ):
        interpreter_of("pusht", {})

    named = create(recipe_of("pusht", **FOR_PUSHT))
    with pytest.warns(Note, match="'pusht'"):
        assert interpreter_of("pusht", {}) == str(named.interpreter)


def test_a_named_interpreter_comes_first(recipe_of, create, python):
    """By its path, or by the name of an environment."""
    environment = create(recipe_of(**FOR_PUSHT))

    assert interpreter_of("pusht", {"python": "tiny"}) == str(environment.interpreter)
    assert interpreter_of("pusht", {"python": str(python.path)}) == str(python.path)
    with pytest.raises(ConfigError, match="The environment 'xarm' is not created"):
        interpreter_of("pusht", {"python": "xarm"})


def test_a_run_directory_records_an_environment_by_its_name_and_needs_no_consent_for_it(recipe_of, create):
    """A path, which may be any program, needs consent; an interpreter that was found is found again."""
    environment = create(recipe_of(**FOR_PUSHT))

    assert choice.python_to_record("tiny", str(environment.interpreter)) == "env:tiny"
    assert choice.python_to_record("env:tiny", str(environment.interpreter)) == "env:tiny"
    assert choice.python_to_record("python3", "/bin/python3") == "/bin/python3"
    assert choice.python_to_record(None, str(environment.interpreter)) is None
    assert interpreter_of("pusht", {"python": "env:tiny"}) == str(environment.interpreter)
    assert uninstalled_code({"env": {"python": "env:tiny"}}) == []
    assert uninstalled_code({"env": {"python": "tiny"}}) == ["the interpreter tiny"]
    with pytest.raises(ConfigError, match="There is no environment 'gone'"):
        interpreter_of("pusht", {"python": "env:gone"})


def test_a_benchmark_without_an_extra_is_here_if_the_module_of_its_recipe_is(recipe_of, create, monkeypatch):
    """gym-xarm fits no interpreter that Proctor fits, so no extra of Proctor installs it."""
    recipe = recipe_of(**FOR_PUSHT, module='"a_module_that_is_nowhere"')
    environment = create(recipe)
    monkeypatch.setattr(choice, "requirements_of", lambda _: COMPLETE)
    monkeypatch.setattr(choice, "recipes", lambda: {"tiny": recipe})
    with pytest.warns(Note, match="'tiny'"):
        assert interpreter_of("pusht", {}) == str(environment.interpreter)

    monkeypatch.setattr(choice, "recipes", lambda: {"tiny": recipe_of(**FOR_PUSHT, module='"json.decoder"')})
    assert interpreter_of("pusht", {}) is None


ENV = '[env]\ntype = "gymnasium"\ntask = "CartPole-v1"\nmodule = "a_module_that_is_nowhere"'


def test_a_type_may_stand_for_the_fields_of_a_recipe(recipe_of, create):
    """The user's fields count more, and the module that only the environment has is found there."""
    environment = create(recipe_of(more=ENV))

    fields = choice.fields_by_recipe("tiny", {"type": "tiny", "episode_length": 5})
    assert fields == {
        "type": "gymnasium",
        "task": "CartPole-v1",
        "module": "a_module_that_is_nowhere",
        "episode_length": 5,
    }
    assert choice.fields_by_recipe("tiny", {"task": "Pendulum-v1"})["task"] == "Pendulum-v1"
    assert choice.fields_by_recipe("other", {}) is None
    with pytest.warns(Note, match="'tiny'"):
        assert interpreter_of("gymnasium", fields) == str(environment.interpreter)
    assert interpreter_of("gymnasium", {"module": "json"}) is None


def test_such_a_type_is_refused_if_its_environment_is_not_created(recipe_of, create):
    """Unless another interpreter is named, or this one has the module."""
    environment = create(recipe_of(more=ENV))
    environment.interpreter.unlink()

    with pytest.warns(Note, match="'tiny' is broken"), pytest.raises(ConfigError, match="proctor env create tiny"):
        choice.fields_by_recipe("tiny", {})
    assert choice.fields_by_recipe("tiny", {"python": "/a/python"})["python"] == "/a/python"
    create(recipe_of("another", benchmarks='["another"]', more=ENV.replace("a_module_that_is_nowhere", "json")))
    assert choice.fields_by_recipe("another", {})["module"] == "json"


def test_an_evaluation_by_a_type_of_a_recipe_lists_its_tasks_in_the_environment(recipe_of, create):
    """The environment's interpreter is asked, and the configuration is that of the benchmark which it stands for."""
    environment = create(recipe_of(more=ENV.replace("a_module_that_is_nowhere", "a_module")))
    (environment.folder / "bin" / "python").write_text(
        (environment.folder / "bin" / "python")
        .read_text()
        .replace("exec", f"PYTHONPATH=$PYTHONPATH:{environment.folder} exec")
    )
    (environment.folder / "a_module.py").write_text("")

    with pytest.warns(Note, match="'tiny'"):
        benchmark, _ = make_benchmark({"type": "tiny"})

    assert benchmark.config.python == str(environment.interpreter)
    assert [task.name for task in benchmark.tasks()] == ["CartPole-v1"]
