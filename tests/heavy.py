"""Which tests need a simulator, torch, a browser, Ray or many processes: their markers, given by where a test is.

``make quick`` runs the tests that have none of these markers. ``conftest.py`` gives the markers, and makes a test
without one fail if the test imports one of ``PACKAGES`` into its own process.
"""

from __future__ import annotations

PACKAGES = {
    "mujoco": "simulator",
    "pymunk": "simulator",
    "robosuite": "simulator",
    "sapien": "simulator",
    "torch": "torch",
    "playwright": "browser",
    "ray": "ray",
}
"""What only a test with a marker imports, and which marker that is. The first four are under all simulators."""

MARKERS: dict[str, tuple[str, ...]] = {
    "test_real_policies.py": ("simulator", "torch"),
    "test_real_runs.py": ("simulator", "torch"),
    "parallel/test_ray_launcher.py": ("ray",),
    "benchmarks/test_libero": ("simulator",),
    "policies/remote/test_libero_requests.py": ("simulator",),
    "policies/remote/test_against_openpi_client.py": ("slow",),
    "policies/remote/test_remote_runs.py": ("simulator",),
    "policies/remote/test_openpi.py": ("slow",),
    "policies/remote/test_groot.py": ("slow",),
    "policies/remote/test_interrupted_waits.py": ("slow",),
    "policies/remote/test_probe_of_a_server.py": ("slow",),
    "benchmarks/test_other_environments.py": ("simulator",),
    "benchmarks/test_robosuite": ("simulator",),
    "benchmarks/test_maniskill": ("simulator", "torch"),
    "benchmarks/test_metaworld": ("simulator",),
    "benchmarks/test_conformance": ("simulator",),
    "policies/test_live_policies.py": ("simulator", "torch"),
    "view/test_in_browser.py": ("browser",),
    "view/test_index_in_browser.py": ("browser",),
    "view/test_accessibility.py": ("browser",),
    "view/test_panel_in_browser.py": ("browser",),
    "policies/test_lerobot_open.py": ("torch",),
    "benchmarks/test_hub.py": ("simulator", "torch"),
    "policies/test_lerobot": ("torch",),
    "benchmarks/": ("simulator", "torch"),
    "test_docs.py::test_what_a_page_shows_works": ("simulator", "torch"),
    "evaluation/sweep/test_sweeps.py": ("simulator", "torch", "slow"),
    "evaluation/open_loop/test_open_loop.py": ("torch",),
    "evaluation/open_loop/test_conversion.py": ("torch",),
    "engine/test_interruption.py": ("slow",),
    "engine/test_faults.py": ("slow",),
    "engine/test_odd_environments.py": ("slow",),
    "engine/test_clock.py": ("slow",),
    "evaluation/test_odd_places.py": ("slow",),
    "engine/test_worker_imports.py::test_the_o": ("slow",),
    "engine/test_worker_imports.py::test_a_newer_python": ("slow",),
    "engine/test_delay.py::test_an_evaluation_executes": ("slow",),
    "engine/test_video_replay.py": ("slow",),
    "evaluation/test_terminal_and_signals.py": ("slow",),
    "evaluation/test_failing_policies.py": ("slow",),
    "evaluation/test_videos.py": ("simulator",),
    "evaluation/audit/test_audit_of_real_runs.py": ("simulator", "torch"),
    "evaluation/test_determinism.py": ("slow",),
    "evaluation/test_env_python.py": ("slow",),
    "evaluation/test_evaluator.py": ("slow",),
    "evaluation/recording/test_recorded_datasets.py": ("simulator", "torch"),
    "evaluation/recording/test_recording.py": ("torch", "slow"),
    "evaluation/test_ranks.py": ("slow",),
    "evaluation/test_run_state.py::test_whenever": ("slow",),
    "evaluation/test_typed_keywords.py": ("slow",),
    "reports/test_notebook.py": ("slow",),
    "parallel/test_driver.py": ("slow",),
    "parallel/test_launchers.py": ("slow",),
    "parallel/test_slurm_launcher.py": ("slow",),
    "parallel/test_sharded_evaluator.py": ("slow",),
    "security/test_consent.py": ("slow",),
    "serving/test_server.py": ("slow",),
    "serving/test_openpi_client.py": ("slow",),
    "serving/test_evaluations.py": ("slow",),
    "serving/test_probe_of_proctor_serve.py": ("slow",),
    "serving/test_real_checkpoints.py": ("simulator", "torch"),
    "policies/test_conformance_of_policies.py": ("torch",),
    "cli/test_secrets.py": ("slow",),
    "interpreters/test_real_environments.py": ("simulator",),
    "interpreters/test_creation.py": ("slow",),
    "interpreters/test_choice.py": ("slow",),
    "interpreters/test_environments.py": ("slow",),
    "interpreters/test_checks_of_environments.py": ("slow",),
    "cli/test_env_command.py": ("slow",),
    "reports/test_html_in_a_browser.py": ("browser",),
    "reports/test_open_loop_in_a_browser.py": ("browser",),
    "reports/test_wandb.py": ("slow",),
    "reports/test_trackers.py": ("torch",),
    "tuning/test_search.py": ("slow",),
    "tuning/test_recommendation.py": ("slow",),
    "test_plugin_package.py": ("slow",),
    "child/": ("slow",),
    "test_streams.py": ("slow",),
    "test_bundled_checkpoint.py": ("simulator", "torch"),
    "test_from_lerobot_eval.py": ("simulator", "torch"),
    "test_docs_site.py": ("browser",),
    "compat/": ("simulator", "torch"),
    "cli/test_autotune.py": ("simulator",),
    "cli/test_check.py": ("simulator",),
    "doctor/": ("simulator", "torch"),
    "identity/test_code.py": ("torch",),
    "policies/test_actions.py": ("torch",),
    "test_rendering.py::test_a_frame_is_really_drawn": ("simulator",),
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
