"""The comparison of two fingerprints: what results depend on, and in what two evaluations differ.

A fingerprint is a nested mapping of plain values. A difference is named by its dotted path and shown with both values,
so that a user who is refused a run directory sees every reason at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from proctor.errors import FingerprintError
from proctor.security.consent import without_consent
from proctor.security.redaction import redact_for_comparison

CODE = "code"
"""The part of a fingerprint that holds digests of code without a version."""
_ONLY_SOURCE = "policy.source_sha256"
_ABSENT = "absent"
_NOT_KNOWN = (
    "policy: it is a function of which an earlier version of Proctor recorded the source alone, and not what that "
    "depends on; so whether it is the same is not known"
)

_Paths = tuple[str | None, str | None]


def check_fingerprint(
    old: Mapping[str, Any], new: Mapping[str, Any], *, allow_mismatch: bool, paths: _Paths = (None, None)
) -> list[str]:
    """Give the differences between two fingerprints, a line each: ``policy.n_action_steps: was 8, now 4``.

    What an earlier version of Proctor did not record (:func:`not_recorded`) is not a difference. ``paths`` are the
    paths of the two checkpoints; if both are given, they are shown in place of digests.

    Raises:
        FingerprintError: the fingerprints differ, and ``allow_mismatch`` is false; shows every difference.
    """
    differences = _readable(contradictions(old, new), paths)
    if differences and not allow_mismatch:
        raise FingerprintError(
            "The run directory holds results of a different evaluation:\n  "
            + "\n  ".join(differences)
            + "\nChoose another --output_dir, or mix the two with --eval.allow_mismatch=true."
        )
    return differences


def not_recorded(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Name the modules whose code is in ``new`` but not in ``old``, because an earlier version did not record code."""
    return [] if CODE in old else sorted({name for side in new.get(CODE, {}).values() for name in side})


def _readable(found: Mapping[str, tuple[str, str]], paths: _Paths) -> list[str]:
    """Describe each difference, and name a checkpoint or a module instead of showing its digest."""
    if _ONLY_SOURCE in found and found[_ONLY_SOURCE][1] == _ABSENT:
        return [_NOT_KNOWN]
    return [_line(name, before, now, paths) for name, (before, now) in found.items()]


def _line(name: str, before: str, now: str, paths: _Paths) -> str:
    whose, _, what = name.rpartition(".")
    if what == "sha256" and all(paths) and whose in ("", "policy"):
        one, other = paths
        return (
            f"policy: the files of {one} have changed since"
            if one == other
            else f"policy: was the checkpoint {one}, now {other}"
        )
    if what == "sha256" and whose in ("", "policy"):
        return "policy: its code, or something that it depends on, is not what it was"
    if whose.partition(".")[0] == CODE and _ABSENT not in (before, now):
        return f"{name}: the code has changed since"
    return f"{name}: was {before}, now {now}"


def contradictions(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Find the :func:`differing` values, without those that the ``old`` fingerprint does not record."""
    if not_recorded(old, new):
        new = {name: value for name, value in new.items() if name != CODE}
    return differing(old, new)


def differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Find the values in which two fingerprints differ: by dotted name, both values as JSON text."""
    before, now = dict(_leaves(_plain(old))), dict(_leaves(_plain(new)))
    return {
        name: (_shown(name, before), _shown(name, now))
        for name in sorted(before.keys() | now.keys())
        if name not in before or name not in now or before[name] != now[name]
    }


def _plain(fingerprint: Mapping[str, Any]) -> Any:
    """Convert a fingerprint to what is read back from a file, so that a tuple equals the list that JSON makes of it.

    Consent and secrets are removed, because earlier versions of Proctor wrote them into fingerprints.
    """
    return redact_for_comparison(without_consent(msgspec.json.decode(msgspec.json.encode(fingerprint)), mark=False))


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, child in value.items():
            yield from _leaves(child, f"{name}.{key}" if name else key)
    else:
        yield name, value


def _shown(name: str, leaves: Mapping[str, Any]) -> str:
    return msgspec.json.encode(leaves[name]).decode() if name in leaves else _ABSENT
