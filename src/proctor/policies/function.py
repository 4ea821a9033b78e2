"""Any callable as a policy: ``--policy.type=function --policy.function=my_module:predict``.

The callable is given one observation, a dict of arrays as the environment delivers them (images uint8
``(height, width, 3)``, vectors ``(size,)``; keys as in :class:`~proctor.types.Observation`) with the sentence under
``"instruction"``, and gives one action ``(action_size,)`` or a chunk ``(steps, action_size)``. It runs in the main
process, one call at a time, with the episode's random states in the global generators of ``random``, numpy and torch.
(Import torch at the top of your module: what is imported only inside the function cannot be seeded for its first call.)
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from proctor.config import structure
from proctor.errors import ConfigError
from proctor.identity.code import identify
from proctor.plugins import load_object
from proctor.policies.actions import to_array
from proctor.policies.base import EpisodeMemory, Policy, Randomness, renamed
from proctor.types import Array, Features, Observation

PredictFunction = Callable[[dict[str, Any]], Any]


@dataclass(frozen=True, kw_only=True)
class FunctionPolicyConfig:
    """``--policy.<field>`` of a function policy."""

    function: str
    """The callable's address, ``module:attribute``; the working directory is searched last."""
    type: str = "function"
    n_action_steps: int | None = None
    """Actions of a returned chunk that are executed; all if not given."""


class FunctionPolicy(Policy):
    """A callable as a policy. It raises ConfigError if ``function`` cannot be called."""

    randomness = Randomness.GLOBAL

    def __init__(
        self,
        function: PredictFunction,
        n_action_steps: int | None = None,
        rename_map: Mapping[str, str] | None = None,
    ) -> None:
        if not callable(function):
            raise ConfigError(f"{function!r} is not callable; a policy is a function from observation to actions.")
        self._function = function
        # before the first episode, so that nothing that it keeps about episodes is part of the digest
        self._identity = identify(function)
        self.unidentified, self.sources = self._identity.unidentified, self._identity.modules
        self.distributions = self._identity.distributions
        self._rename_map = rename_map or {}
        self.n_action_steps = sys.maxsize if n_action_steps is None else n_action_steps

    def check_contract(self, features: Features) -> None:
        renamed(features, self._rename_map)

    def predict(self, observations: Sequence[Observation], memories: Sequence[EpisodeMemory]) -> list[Array]:
        return [self._actions(observation) for observation in observations]

    def fingerprint(self) -> Mapping[str, Any]:
        """Give the callable's name and a digest of all that it depends on: see :mod:`proctor.identity.code`."""
        function = self._function if inspect.isroutine(self._function) else type(self._function)
        name = f"{function.__module__}:{function.__qualname__}"
        steps = None if self.n_action_steps == sys.maxsize else self.n_action_steps
        return {"type": "function", "function": name, "sha256": self._identity.sha256, "n_action_steps": steps}

    def _actions(self, observation: Observation) -> Array:
        seen: dict[str, Any] = {
            self._rename_map.get(key, key): array[-1].copy() for key, array in observation.arrays.items()
        }
        actions = np.array(to_array(self._function({**seen, "instruction": observation.instruction})), ndmin=1)
        return actions if actions.ndim > 1 else actions[np.newaxis]


def load(fields: Mapping[str, Any], rename_map: Mapping[str, str] | None = None) -> FunctionPolicy:
    """Any callable: ``--policy.type=function --policy.function=my_module:predict``.

    Raises:
        ConfigError: there is no such callable, or a field has a value that it cannot have.
    """
    if "sha256" in fields:  # only in the run.json of a function that was given from Python
        raise ConfigError(
            f"The function {fields.get('function')} was given to proctor.evaluate, and only a call of that can go on "
            "with its run: the same one, with this output_dir."
        )
    config = structure(FunctionPolicyConfig, fields, "policy")
    if config.n_action_steps is not None and config.n_action_steps < 1:
        raise ConfigError(f"policy.n_action_steps is {config.n_action_steps}; it must be at least 1.")
    return FunctionPolicy(load_object(config.function), config.n_action_steps, rename_map)
