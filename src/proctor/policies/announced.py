"""A policy that says which one it is, the moment that is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from proctor.policies.base import Policy, PolicySource, why_unidentified


class AnnouncedPolicy:
    """``source``, of which ``on_opened`` is told the fingerprint once it is loaded.

    Only then is known what it runs on where the user left that open. ``on_opened`` is called on the thread that loads
    it, once per device; what it raises is raised as if loading had failed.
    """

    def __init__(self, source: PolicySource, on_opened: Callable[[Mapping[str, Any]], None]) -> None:
        self._source, self._on_opened = source, on_opened
        self.look_offsets, self.n_action_steps = source.look_offsets, source.n_action_steps
        self.episodes_per_pass = source.episodes_per_pass
        self.check_contract, self.fingerprint = source.check_contract, source.fingerprint
        self.distributions, self.sources, self.pinned = source.distributions, source.sources, source.pinned
        self.unidentified = why_unidentified(source)

    @property
    def per_device(self) -> Sequence[PolicySource]:
        """See :attr:`PolicySource.per_device`."""
        return [AnnouncedPolicy(source, self._on_opened) for source in self._source.per_device]

    def open(self, n_threads: int) -> Policy:
        """See :meth:`PolicySource.open`."""
        policy = self._source.open(n_threads)
        self._on_opened(policy.fingerprint())
        return policy
