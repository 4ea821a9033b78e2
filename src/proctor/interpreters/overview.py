"""Lists each of Proctor's recipes with its environment, and the environments of other recipes."""

from __future__ import annotations

from dataclasses import dataclass

from proctor.interpreters.environments import Environment, existing
from proctor.interpreters.recipe import Recipe, recipes

NOT_CREATED = "not created"


@dataclass(frozen=True, slots=True)
class Row:
    """A recipe of Proctor's, an environment, or both. A recipe has a row for each environment of its name."""

    name: str
    recipe: Recipe | None
    environment: Environment | None

    @property
    def state(self) -> str:
        return self.environment.state if self.environment else NOT_CREATED

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """The values of ``--env.type`` that run in it."""
        if self.environment is not None:
            return self.environment.facts.benchmarks
        return self.recipe.benchmarks if self.recipe else ()


def overview() -> list[Row]:
    """List recipes and environments in the order of their names."""
    there, known = existing(), recipes()
    created = {environment.name for environment in there}
    rows = [Row(each.name, None if each.facts.own_recipe else known.get(each.name), each) for each in there]
    rows += [Row(name, recipe, None) for name, recipe in known.items() if name not in created]
    return sorted(rows, key=lambda row: row.name)
