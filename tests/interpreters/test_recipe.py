"""Recipes are read strictly, and their digest changes with all that decides what an environment is."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from proctor.errors import ConfigError
from proctor.interpreters.recipe import FOLDER, WORKER_PACKAGES, find_recipe, recipes
from proctor.plugins import BENCHMARKS, installed, load_object


def test_a_recipe_has_the_name_of_its_file(recipe_of):
    recipe = recipe_of("my_simulator")

    assert recipe.name == "my_simulator"
    assert recipe.is_own
    assert not recipes()["xarm"].is_own


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"license": '"MIT"'}, r"has the unknown key 'license'. Did you mean 'licence'\?"),
        ({"path": '"x"'}, "has the unknown key 'path'."),
        ({"disk_mb": '"1"'}, "cannot be used: disk_mb: expected `int`, got `str`."),
        ({"python": '"3.10 or so"'}, "python has '3.10 or so'; it must be a range of versions such as"),
        ({"packages": "[]"}, r"packages has '\[\]'; it must be a list of packages"),
        ({"packages": '["--index-url=x"]'}, "packages has '--index-url=x'; it must be a package such as"),
        ({"constraints": '["-r file"]'}, "constraints has '-r file'; it must be a package such as"),
        ({"packages_without_dependencies": '["a b"]'}, "packages_without_dependencies has 'a b'; it must be"),
        ({"summary": "yes"}, "is not a TOML file: "),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_wrong_recipe_is_refused_in_a_sentence(recipe_of, values, sentence):
    """It names the file, the key and what was expected."""
    with pytest.raises(ConfigError, match=sentence) as caught:
        recipe_of(**values)

    assert "tiny.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_that_is_missing_is_named(tmp_path):
    path = tmp_path / "short.toml"
    path.write_text('summary = "x"')

    with pytest.raises(ConfigError, match=r"short\.toml cannot be used: it lacks the key `benchmarks`"):
        find_recipe(str(path))


@pytest.mark.parametrize("name", ["Tiny", "a b", "a.b", "ä"])
def test_a_name_that_is_no_folders_name_is_refused(recipe_of, name):
    with pytest.raises(ConfigError, match="which may consist of lower-case letters"):
        recipe_of(name)


def test_a_recipe_is_found_by_its_name_or_its_path(recipe_of, tmp_path, monkeypatch):
    """The nearest name is suggested, and a file without a path is not looked for."""
    recipe_of("own")
    monkeypatch.chdir(tmp_path)

    assert find_recipe("own.toml").name == find_recipe("./own.toml").name == "own"
    assert find_recipe("xarm").path == FOLDER / "xarm.toml"
    assert find_recipe("simpler").name == "maniskill"
    with pytest.raises(ConfigError, match=r"There is no recipe 'xram'. Did you mean 'xarm'\? .*: ./xram.toml."):
        find_recipe("xram")
    with pytest.raises(ConfigError, match=r"gone.toml cannot be read: No such file"):
        find_recipe("./gone.toml")


def test_a_recipe_of_ones_own_cannot_take_the_name_of_one_of_proctors(recipe_of):
    recipe = recipe_of("xarm")

    with pytest.raises(ConfigError, match="has the name of one of Proctor's; rename the file"):
        find_recipe(str(recipe.path))


def test_the_digest_changes_with_what_decides_and_not_with_what_is_for_people(recipe_of):
    first = recipe_of().digest
    decisive = {
        "python": '">=3.11"',
        "packages": '["numpy==2.0", "msgspec"]',
        "constraints": '["glfw==2"]',
        "packages_without_dependencies": '["gym-hil"]',
        "check": '"import gymnasium"',
    }
    for_people = {"summary": '"x"', "licence": '"x"', "disk_mb": "2", "downloads": '"x"', "unproven": '"x"'}

    assert re.fullmatch("[0-9a-f]{12}", first)
    assert len({first, *(recipe_of(**{key: value}).digest for key, value in decisive.items())}) == len(decisive) + 1
    assert {recipe_of(**{key: value}).digest for key, value in for_people.items()} == {first}
    assert recipe_of("another").digest == first


@pytest.mark.parametrize(
    ("packages", "added"),
    [
        ('["x"]', {"gymnasium", "numpy", "msgspec", "av"}),
        ('["x", "Numpy<2", "gymnasium==0.29.1"]', {"msgspec", "av"}),
        ('["x", "gym==0.26"]', {"numpy", "msgspec", "av"}),
    ],
)
def test_a_worker_gets_what_it_needs_besides(recipe_of, packages, added):
    """A package that the recipe names is left to it, and the old gym takes gymnasium's place."""
    recipe = recipe_of(packages=packages)

    assert set(recipe.requirements) - set(recipe.packages) == added


def names(texts):
    return {Requirement(text).name.lower().replace("_", "-") for text in texts}


@pytest.mark.parametrize("name", recipes())
def test_each_of_proctors_recipes_is_pinned_throughout(name):
    """Every package has one version, those of a worker too, in a range of Pythons that has an end."""
    recipe = recipes()[name]
    pinned = (*recipe.packages, *recipe.packages_without_dependencies, *recipe.constraints)

    for text in pinned:
        assert [specifier.operator for specifier in Requirement(text).specifier] == ["=="], text
    gym = {"gym"} if "gym" in names(recipe.packages) else {"gymnasium"}
    assert names(pinned) >= {*WORKER_PACKAGES} - {"gymnasium"} | gym
    assert "<" in {specifier.operator for specifier in SpecifierSet(recipe.python)}
    assert not names(recipe.packages) & names(recipe.constraints)
    assert recipe.summary
    assert recipe.benchmarks


def test_what_type_stands_for_in_a_recipe_is_a_benchmark():
    for recipe in recipes().values():
        if recipe.env:
            assert recipe.env["type"] in installed(BENCHMARKS)


def test_the_recipes_of_benchmarks_have_the_versions_that_are_tested_together():
    """An environment of its own gives the results of this interpreter."""
    lines = (FOLDER.parents[3] / "constraints-3.12.txt").read_text().splitlines()
    tested = {Requirement(line).name: line for line in lines if line and not line.startswith("#")}
    for name in ("pusht", "metaworld", "aloha", "libero"):
        recipe = tomllib.loads((FOLDER / f"{name}.toml").read_text())
        for text in (*recipe["packages"], *recipe["constraints"]):
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"python_version": "3.12"}):
                assert f"{requirement.name}{requirement.specifier}" == tested[requirement.name]


def test_every_benchmark_with_an_extra_has_a_recipe_that_the_extras_name_finds():
    """Since the error of a missing package names both; a recipe may be for several benchmarks."""
    kinds = [load_object(point.value) for point in installed(BENCHMARKS).values() if point.value.startswith("proctor.")]
    extras = {kind.extra for kind in kinds if kind.extra}

    assert extras
    assert extras <= {name for recipe in recipes().values() for name in (recipe.name, *recipe.benchmarks)}
    assert all(find_recipe(name) for name in extras)
