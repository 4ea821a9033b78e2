"""A policy predicts in recorded episodes. Observations of several episodes share forward passes.

The passes are the engine's (:mod:`proctor.engine.inference`): of one fixed shape, with a fixed row for each episode if
rows matter, and random numbers from the episode's own stream. So a prediction does not depend on the episodes beside
it. As in the engine, an episode looks again after ``n_action_steps`` actions, sees the steps of ``look_offsets``, the
first frame repeated before there is a history, and keeps its memory from look to look.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator, Sequence
from typing import Self

import numpy as np

from proctor.engine.episode import LookPlan
from proctor.engine.inference import Inference, InferenceRequest, InferenceResult
from proctor.engine.plan import row_of
from proctor.errors import ConfigError, ContractError, EpisodeLostError, Interrupted, NoResultError, PolicyError
from proctor.evaluation.open_loop.predictions import Predictions
from proctor.policies.actions import check_actions
from proctor.policies.base import EpisodeMemory, Policy, PolicySource
from proctor.policies.lerobot.recordings import EpisodeReader, Frame, RecordedEpisode, Recordings
from proctor.reports.text import first_line
from proctor.streams import RandomStream
from proctor.types import Array, AttemptError, EpisodeSpec, Observation

_GLANCE_S = 0.2
"""The seconds after which an interruption is noticed at the latest, while a pass is under way."""


class PredictedEpisode:
    """A recorded episode in which the policy is predicting."""

    def __init__(self, episode: RecordedEpisode, reader: EpisodeReader, spec: EpisodeSpec, looks: LookPlan) -> None:
        self.episode, self._reader, self._spec, self._looks = episode, reader, spec, looks
        self._kept: dict[int, Frame] = {}
        self._begin()

    def _begin(self) -> None:
        self.memory = EpisodeMemory(RandomStream(self._spec), whole_chunks=True)
        self._starts: list[int] = []
        self._chunks: list[Array] = []
        self.step = 0
        """The step at which the policy looks next."""

    @property
    def is_over(self) -> bool:
        """The policy has predicted for every step."""
        return self.step >= self.episode.length

    def observation(self) -> Observation:
        """Read what the policy sees now, with the history that it declared."""
        steps = [max(0, self.step + offset) for offset in self._looks.offsets]
        self._kept = {step: self._kept.get(step) or self._reader.frame(step) for step in dict.fromkeys(steps)}
        frames = [self._kept[step] for step in steps]
        keys = frames[0][0]
        return Observation({key: np.stack([arrays[key] for arrays, _ in frames]) for key in keys}, frames[-1][1])

    def take(self, chunk: Array) -> None:
        """Take in the chunk ``(steps, action_size)`` that was predicted at this step."""
        self._starts.append(self.step)
        self._chunks.append(chunk)
        self.step += min(len(chunk), self._looks.n_action_steps)

    def restart(self) -> None:
        """Begin again, because the policy lost the episode."""
        self._begin()

    def predictions(self) -> Predictions:
        """Give what was predicted; the episode is over.

        Raises:
            ConfigError: a recorded action is not finite, so that no error can be computed.
        """
        truth = self._reader.actions()
        if not np.isfinite(truth).all():
            raise ConfigError(
                f"Episode {self.episode.index} of the dataset records actions that are NaN or infinite; leave it out "
                "with --dataset.episodes."
            )
        return Predictions(truth, np.array(self._starts), tuple(self._chunks))


class OpenLoopInference:
    """A policy on its first device, which predicts in recorded episodes.

    A context manager. ``seed`` is that of episode 0, ``batch_size`` the rows of a pass (0 leaves them to the policy).
    ``on_progress`` is told for how many recorded steps there is a prediction.
    """

    def __init__(  # noqa: PLR0913 - the options of inference
        self,
        source: PolicySource,
        recordings: Recordings,
        *,
        seed: int,
        n_threads: int,
        batch_size: int,
        on_progress: Callable[[int], None],
    ) -> None:
        self._recordings, self._seed, self._on_progress = recordings, seed, on_progress
        self._inference = Inference(source.per_device[0], n_threads=n_threads, batch_size=batch_size)
        self._ready: dict[int, PredictedEpisode] = {}
        self._inferring: dict[int, PredictedEpisode] = {}
        self._signal: int | None = None
        self._steps_done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._inference.close()

    def interrupt(self, signal_number: int) -> None:
        """End the work soon. May be called from a signal handler."""
        self._signal = signal_number

    def load(self) -> Policy:
        """Wait until the policy is loaded, and compare what it expects with what the dataset records.

        Raises:
            ContractError: policy and dataset do not fit.
            Interrupted: :meth:`interrupt` was called.
            ProctorError: the policy cannot be loaded.
        """
        while not self._inference.has_free_slot():
            self._wait()
            self._inference.results()
        policy = self._inference.policy
        assert policy is not None
        try:
            policy.check_contract(self._recordings.features)
        except ContractError as error:  # its message names the side that is an environment elsewhere
            raise ContractError(str(error).replace("environment", "dataset")) from None
        return policy

    def predict(self, episodes: Sequence[RecordedEpisode]) -> Iterator[tuple[RecordedEpisode, Predictions]]:
        """Predict in the episodes, which are ascending; yield each as soon as it is over. The policy is loaded.

        Raises:
            NoResultError: the policy failed in an episode; what was yielded before stays right.
            PolicyGoneError: the policy's server is gone.
            Interrupted: :meth:`interrupt` was called.
        """
        policy = self._inference.policy
        assert policy is not None
        looks = LookPlan(policy.look_offsets, policy.n_action_steps)
        readers = self._recordings.readers(episodes, -looks.offsets[0])
        waiting = iter(zip(episodes, readers, strict=True))
        n_at_once = 1 if self._recordings.in_order else self._inference.batch_size * self._inference.n_slots
        is_more = True
        while is_more or self._ready or self._inferring:
            while is_more and len(self._ready) + len(self._inferring) < n_at_once:
                is_more = self._begin(next(waiting, None), looks)
            self._start_passes()
            self._wait()
            for result in (result for results in self._inference.results() for result in results):
                if (over := self._take(result)) is not None:
                    yield over.episode, over.predictions()

    def _begin(self, new: tuple[RecordedEpisode, EpisodeReader] | None, looks: LookPlan) -> bool:
        if new is None:
            return False
        episode, reader = new
        spec = EpisodeSpec(self._recordings.identity["repo_id"], 0, episode.index, self._seed + episode.index)
        self._ready[episode.index] = PredictedEpisode(episode, reader, spec, looks)
        return True

    def _start_passes(self) -> None:
        """Start a pass if it is full, or if no other observation can come before it is over."""
        while self._inference.has_free_slot() and (chosen := self._choose()):
            if len(chosen) < self._inference.batch_size and self._inferring:
                return
            self._inferring |= {index: self._ready.pop(index) for index in chosen}
            self._inference.submit(
                [InferenceRequest(index, each.observation(), each.memory) for index, each in self._chosen(chosen)]
            )

    def _chosen(self, indices: Sequence[int]) -> Iterator[tuple[int, PredictedEpisode]]:
        return ((index, self._inferring[index]) for index in indices)

    def _choose(self) -> list[int]:
        """List the episodes of the next pass, of which no two have the same row."""
        rows = self._inference.fixed_rows
        if rows is None:
            return list(self._ready)[: self._inference.batch_size]
        chosen: dict[int, int] = {}
        for index, each in self._ready.items():
            chosen.setdefault(row_of(each.memory.stream.spec, rows), index)
        return list(chosen.values())

    def _take(self, result: InferenceResult) -> PredictedEpisode | None:
        """Take in the result of an episode; return the episode if it is over."""
        each = self._inferring.pop(result.request.worker_id)
        before = each.step
        if isinstance(result.chunk, EpisodeLostError):
            self._restart(each, result.chunk)
        else:
            each.take(self._checked(each, result.chunk))
        self._steps_done += min(each.step, each.episode.length) - before
        self._on_progress(self._steps_done)
        if each.is_over:
            return each
        self._ready[each.episode.index] = each
        return None

    def _checked(self, each: PredictedEpisode, chunk: Array | AttemptError) -> Array:
        """Require a chunk of real, finite actions of the recorded size; flatten the actions.

        Raises:
            NoResultError: the policy failed, or its actions are others.
        """
        where = f"Step {each.step} of episode {each.episode.index}"
        if isinstance(chunk, AttemptError):
            raise NoResultError(f"{where}: {first_line(chunk.message)}")
        try:
            actions = check_actions(chunk, self._recordings.features.action)
        except PolicyError as error:
            raise NoResultError(f"{where}: {str(error).replace('environment takes', 'dataset records')}.") from None
        flat = actions.reshape(len(actions), -1)
        return np.array(
            flat, flat.dtype if flat.dtype.kind == "f" else np.float64
        )  # a copy: it may be a view of a pass

    def _restart(self, each: PredictedEpisode, lost: EpisodeLostError) -> None:
        """Begin an episode again that the policy's server lost.

        Raises:
            NoResultError: the dataset is streamed, so that the episode cannot be read again.
        """
        if self._recordings.in_order:
            raise NoResultError(f"Episode {each.episode.index}: {lost}; run the same command again, to go on.")
        each.restart()

    def _wait(self) -> None:
        """Wait until a pass is over, or the policy is loaded.

        Raises:
            Interrupted: :meth:`interrupt` was called.
        """
        is_pending = bool(self._inferring) or self._inference.policy is None
        select.select([self._inference.wake_descriptor], [], [], _GLANCE_S if is_pending else 0.0)
        if self._signal is not None:
            raise Interrupted(self._signal)
