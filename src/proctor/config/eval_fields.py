"""The fields of :class:`~proctor.config.EvalConfig` as keyword arguments, which editors and type checkers know."""

from __future__ import annotations

from typing import Literal, TypedDict


class EvalFields(TypedDict, total=False):
    """Keyword arguments of :func:`proctor.evaluate`; :class:`~proctor.config.EvalConfig` describes each of them."""

    n_episodes: int
    batch_size: int
    use_async_envs: bool
    shard_id: int
    num_shards: int
    inference_batch_size: int
    inference_threads: int
    max_inference_batch: int
    batch_wait_timeout_s: float | None
    inference_delay_steps: int
    inference_delay_ms: float
    when_late: Literal["hold", "zero", "wait"]
    max_attempts: int
    step_timeout_s: float
    reset_timeout_s: float
    worker_memory_gb: float | None
    inference_timeout_s: float | None
    n_episodes_to_render: int | None
    video: Literal["auto", "first", "failures", "all", "none"]
    video_fps: float
    video_camera: str | None
    video_size: str | None
    recording: bool
    recording_repo_id: str | None
    recording_private: bool
    ci: Literal["wilson", "exact", "anytime"] | None
    stop_at_ci_width: float | None
    display: Literal["auto", "plain", "none"]
    trace: bool
    audit: bool
    allow_mismatch: bool
