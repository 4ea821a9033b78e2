"""Fields that LeRobot has dropped from the configurations of its policies, and that had no use any more."""

from __future__ import annotations

from collections.abc import Mapping

DROPPED_FIELDS: Mapping[str, frozenset[str]] = {"vqbet": frozenset({"mlp_hidden_dim"})}
"""By type of policy. Evidence: of all fields that were dropped from a configuration class since LeRobot writes
``type`` into ``config.json`` (pull request 550 of January 2025, up to 0.6.1), these were read by nothing when they
went: ``mlp_hidden_dim`` in pull request 2062, "remove unused code"; first-party checkpoints for PushT hold it. Those of
the first ``pi0`` (``num_steps``, ``proj_width``, …) shape what the policy does, so they are not here."""
