"""Which tests need a simulator, torch, a browser, Ray or many processes: their markers, given by where a test is.

``make quick`` runs the tests that have none of these markers. ``conftest.py`` gives the markers, and makes a test
without one fail if the test imports one of ``PACKAGES`` into its own process.
"""

from __future__ import annotations

PACKAGES = {
    "mujoco": "simulator",
    "pymunk": "simulator",
    "robosuite": "simulator",
    "torch": "torch",
    "playwright": "browser",
    "ray": "ray",
}
"""What only a test with a marker imports, and which marker that is. The first three are under all simulators."""

MARKERS: dict[str, tuple[str, ...]] = {
    "benchmarks/test_libero_adapter.py": ("simulator",),
    "engine/test_faults.py": ("slow",),
    "policies/test_lerobot": ("torch",),
}
"""The beginning of an address below ``tests`` (a folder, the beginning of files' names, a file, or a file and the
beginning of a test's name), and the markers of all tests whose address begins so. The files that take longest come
first: in this order they are dealt to the processes, before all others.
"""


def markers_of(address: str) -> set[str]:
    """The markers of the test at ``address``: its file below ``tests``, ``::`` and its name."""
    return {marker for start, markers in MARKERS.items() if address.startswith(start) for marker in markers}


def is_heavy_throughout(file: str) -> bool:
    """Every test of the file has a marker."""
    return bool(markers_of(file))


def turn_of(address: str) -> int:
    """The place of a test's file in the order of ``MARKERS``; files without a marker come last."""
    file = address.partition("::")[0]
    turns = (turn for turn, start in enumerate(MARKERS) if file.startswith(start.partition("::")[0]))
    return next(turns, len(MARKERS))
