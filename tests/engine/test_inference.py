"""Inference: batches in, chunks out, on threads of its own."""

from __future__ import annotations

import select
import threading
from time import monotonic, sleep

import numpy as np
import pytest
from fake_runs import n_descriptors

from proctor.engine.inference import Inference, InferenceRequest, InferenceResult
from proctor.errors import ConfigError, ResourceError
from proctor.policies.base import EpisodeMemory, Policy
from proctor.streams import RandomStream
from proctor.testing.fakes import FakePolicy
from proctor.types import AttemptError, EpisodeSpec, Observation


class Doubler(Policy):
    """Gives twice what it sees, and notes what it was asked."""

    n_slots = 2

    def __init__(self, **attributes) -> None:
        self.__dict__.update(attributes)
        self.asked: list[list[float]] = []

    def predict(self, observations, memories):
        assert len(observations) == len(memories)
        values = [float(observation.arrays["x"][-1, 0]) for observation in observations]
        self.asked.append(values)
        if any(value < 0 for value in values):
            raise ValueError("I do not like negative numbers")
        return [np.full((1, 1), 2 * value) for value in values]


def request(value: float, worker: int = 0) -> InferenceRequest:
    memory = EpisodeMemory(RandomStream(EpisodeSpec("suite", 0, worker, 1000 + worker)))
    return InferenceRequest(worker, Observation({"x": np.full((1, 1), value)}), memory)


@pytest.fixture
def inferring():
    """Makes inferences that are loaded, and closes them."""
    made: list[Inference] = []

    def make(policy, batch_size: int = 0, *, wait: bool = True) -> Inference:
        inference = Inference(policy, n_threads=1, batch_size=batch_size)
        made.append(inference)
        until = monotonic() + 60
        while wait and not inference.has_free_slot():
            assert monotonic() < until
            sleep(0.001)
        return inference

    yield make
    for inference in made:
        inference.close()


def collect(inference: Inference, n: int) -> list[InferenceResult]:
    """Wait for so many results, by the descriptor that the engine waits on too."""
    results: list[InferenceResult] = []
    while len(results) < n:
        readable, _, _ = select.select([inference.wake_descriptor], [], [], 60)
        assert readable, "nothing came"
        results += [result for results_of_a_pass in inference.results() for result in results_of_a_pass]
    return results


def test_every_request_gets_its_own_result(inferring):
    """In the order they were asked, with the time the pass took."""
    inference = inferring(Doubler(), 3)
    requests = [request(value, worker) for worker, value in enumerate((1.0, 2.0, 3.0))]
    inference.submit(requests)

    results = collect(inference, 3)

    assert [result.request for result in results] == requests
    assert [float(result.chunk[0, 0]) for result in results] == [2, 4, 6]
    assert all(result.seconds > 0 for result in results)
    assert inference.n_passes == 1


def test_how_well_it_is_used_is_measured(inferring):
    """Observations per pass, padding not counted, and the part of the time in which its slots were busy."""
    inference = inferring(Doubler(batch_size=4))
    inference.submit([request(1.0), request(2.0)])
    collect(inference, 2)
    inference.submit([request(3.0)])
    collect(inference, 1)

    assert (inference.n_requests, inference.n_passes) == (3, 2)
    assert inference.loaded_at is not None
    a_second_later = inference.loaded_at + 1.0
    inference.busy_seconds = 0.25 * inference.n_slots
    assert inference.busy_share(a_second_later) == pytest.approx(0.25)
    assert inference.busy_share(inference.loaded_at) is None


def test_before_the_policy_is_loaded_there_is_nothing_to_measure(inferring):
    """Rather than a share of zero."""
    inference = Inference(Doubler(), n_threads=1, batch_size=1)
    try:
        assert inference.loaded_at is None
        assert inference.busy_share(monotonic()) is None
        assert inference.n_passes == 0
    finally:
        inference.close()


def test_every_pass_has_the_same_shape(inferring):
    """A batch that is not full is padded with its first observation, and the padding's results are dropped."""
    policy = Doubler(batch_size=4)
    inference = inferring(policy)
    inference.submit([request(1.0), request(2.0)])

    assert len(collect(inference, 2)) == 2
    assert policy.asked == [[1.0, 2.0, 1.0, 1.0]]


def test_an_episode_has_the_same_row_in_every_pass_where_that_matters(inferring):
    """The row does not depend on other requests or their order."""
    policy = Doubler(batch_size=4, place_matters=True)
    inference = inferring(policy)
    inference.submit([request(float(worker), worker) for worker in (6, 3, 8)])

    results = collect(inference, 3)

    assert inference.fixed_rows == 4
    assert policy.asked == [[8.0, 6.0, 6.0, 3.0]]
    assert {result.request.worker_id: float(result.chunk[0, 0]) for result in results} == {6: 12, 3: 6, 8: 16}


def test_what_goes_wrong_around_the_policy_is_raised_to_the_caller_that_waits(inferring, monkeypatch):
    """The end of the thread alone would go unnoticed."""
    inference = inferring(Doubler(batch_size=4))
    monkeypatch.setattr(inference, "_predict", lambda _: [])
    inference.submit([request(1.0)])

    with pytest.raises(ValueError, match="shorter"):
        collect(inference, 1)


def test_the_size_asked_for_overrides_the_policys(inferring):
    """``--eval.inference_batch_size``."""
    assert inferring(Doubler(batch_size=4), 2).batch_size == 2
    assert inferring(Doubler(batch_size=4)).batch_size == 4


def test_padding_does_not_use_up_an_episodes_random_numbers(inferring):
    """Else what an episode draws would depend on how full its batch was."""

    class Drawing(Policy):
        def predict(self, observations, memories):
            return [memory.stream.generator.normal(size=(1, 1)) for memory in memories]

    drawn = []
    for size in (1, 4):
        inference, asked = inferring(Drawing(), size), request(1.0)
        for _ in range(3):
            inference.submit([asked])
            drawn.append(float(collect(inference, 1)[0].chunk[0, 0]))

    assert drawn[:3] == drawn[3:]


def test_one_bad_observation_does_not_spoil_the_batch(inferring):
    """The others are asked again alone; only the culprit has no chunk, and its traceback is kept."""
    inference = inferring(Doubler(), 4)
    inference.submit([request(1.0), request(-1.0), request(3.0)])

    good, bad, other = collect(inference, 3)

    assert float(good.chunk[0, 0]) == 2
    assert float(other.chunk[0, 0]) == 6
    assert isinstance(bad.chunk, AttemptError)
    assert bad.chunk.kind == "policy"
    assert bad.chunk.message == "ValueError: I do not like negative numbers"
    assert "predict" in bad.chunk.traceback


def test_the_culprits_of_a_batch_are_found_by_halving_it(inferring):
    """One bad observation of eight costs six further passes; asking each alone would cost eight."""
    policy = Doubler()
    inference = inferring(policy, 8)
    inference.submit([request(-1.0 if worker == 5 else 1.0, worker) for worker in range(8)])

    results = collect(inference, 8)

    assert [isinstance(result.chunk, AttemptError) for result in results] == [worker == 5 for worker in range(8)]
    assert len(policy.asked) == 1 + 6


class Hanging(Doubler):
    """Does not return from a pass over a negative number until ``gate`` is set."""

    def __init__(self, **attributes) -> None:
        super().__init__(**attributes)
        self.gate = threading.Event()

    def predict(self, observations, memories):
        if any(float(observation.arrays["x"][-1, 0]) < 0 for observation in observations):
            self.gate.wait(60)
            return [np.zeros((1, 1))] * len(observations)
        return super().predict(observations, memories)


@pytest.fixture
def hanging():
    policy = Hanging(n_slots=1)
    yield policy
    policy.gate.set()


def until_given_up(inference: Inference) -> list[InferenceResult]:
    until = monotonic() + 60
    while not (found := inference.results()):
        assert monotonic() < until
        sleep(0.01)
    return found[0]


def test_a_pass_that_does_not_return_fails_its_episodes_and_others_go_on(hanging):
    """What it returns later is dropped: its episodes may have begun again."""
    inference = Inference(hanging, n_threads=1, batch_size=2, timeout_s=0.2)
    while not inference.has_free_slot():
        sleep(0.001)
    inference.submit([request(-1.0, 0), request(1.0, 1)])

    hung = until_given_up(inference)
    inference._timeout_s = 60
    inference.submit([request(3.0, 2)])
    (after,) = until_given_up(inference)
    hanging.gate.set()
    sleep(0.1)
    late = inference.results()
    inference.close()

    assert [result.chunk.message for result in hung] == [
        "the policy has not returned from a forward pass within 0.2 s; a longer --eval.inference_timeout_s waits longer"
    ] * 2
    assert float(after.chunk[0, 0]) == 6
    assert late == []


@pytest.mark.parametrize("attributes", [{}, {"randomness": "global"}], ids=["third", "alone"])
def test_a_policy_that_does_not_return_ends_the_run(hanging, attributes):
    """After the third time; at once if it holds the random generators of the whole process."""
    hanging.__dict__.update(attributes)
    inference = Inference(hanging, n_threads=1, batch_size=1, timeout_s=0.1)
    while not inference.has_free_slot():
        sleep(0.001)
    for _ in range(0 if attributes else 2):
        inference.submit([request(-1.0)])
        until_given_up(inference)
    inference.submit([request(-1.0)])

    with pytest.raises(ResourceError, match="has not returned from a forward pass"):
        until_given_up(inference)
    hanging.gate.set()
    inference.close()


def test_a_slow_policy_is_given_more_time(inferring):
    """Without a time-out of the user's, ten times the slowest pass, and never less than minutes."""
    inference = inferring(Doubler(), 1)
    assert inference._patience_s == 1800
    inference.submit([request(1.0)])
    collect(inference, 1)
    assert inference._patience_s == 300
    inference._slowest = 40.0
    assert inference._patience_s == 400


def test_closing_does_not_wait_for_a_policy_that_loads_or_hangs(hanging, monkeypatch):
    """Ctrl-C would wait as long as they take; nobody is told of a policy that is loaded after the end."""
    monkeypatch.setattr("proctor.engine.inference._GRACE_S", 0.2)
    gate, told, loaded = threading.Event(), [], threading.Event()

    class Slow(Doubler):
        def open(self, n_threads):
            gate.wait(60)
            loaded.set()
            return self

    hung = Inference(hanging, n_threads=1, batch_size=1)
    while not hung.has_free_slot():
        sleep(0.001)
    loading = Inference(Slow(), n_threads=1, batch_size=1, on_loaded=told.append)
    hung.submit([request(-1.0)])
    began = monotonic()
    loading.close()
    hung.close()
    ended = monotonic()
    gate.set()
    assert loaded.wait(60)
    hanging.gate.set()
    for thread in threading.enumerate():
        if thread.name in {"loading", "inference-0"}:
            thread.join(60)

    assert ended - began < 30
    assert told == []


class UnreadableError(Exception):
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (SystemExit(0), "SystemExit: 0"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (BaseException("odd"), "BaseException: odd"),
        (UnreadableError(), "UnreadableError: its message cannot be read, RuntimeError"),
        (ValueError("\udcff"), r"ValueError: \udcff"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_a_policy_raises_is_that_episodes_error(inferring, raised, message):
    """The thread that asks it goes on: an evaluation would wait for its answer for ever."""

    class Raising(Doubler):
        def predict(self, observations, memories):
            raise raised

    inference = inferring(Raising(), 1)
    for _ in range(2):
        inference.submit([request(1.0)])

        assert collect(inference, 1)[0].chunk.message == message


def test_too_few_chunks_are_an_error_of_the_policy(inferring):
    """And not a shift of everybody's actions."""

    class Short(Policy):
        def predict(self, observations, memories):
            return []

    inference = inferring(Short(), 1)
    inference.submit([request(1.0)])

    assert "gave 0 chunks" in collect(inference, 1)[0].chunk.message


def test_loading_that_fails_is_raised_where_it_is_waited_for(inferring):
    """Whatever it was, as it was."""

    class Broken(Doubler):
        def open(self, n_threads):
            raise FileNotFoundError("no weights")

    inference = inferring(Broken(), wait=False)
    select.select([inference.wake_descriptor], [], [], 60)

    until = monotonic() + 60
    while not inference._loading.done():
        assert monotonic() < until

    with pytest.raises(FileNotFoundError, match="no weights"):
        inference.has_free_slot()


def test_loading_that_exits_is_refused(inferring):
    """A SystemExit of 0 would end the command as if it had measured something."""

    class Exiting(Doubler):
        def open(self, n_threads):
            raise SystemExit(0)

    inference = inferring(Exiting(), wait=False)
    with pytest.raises(ConfigError, match=r"^The policy cannot be loaded: SystemExit: 0\.$"):
        inference._loading.result(timeout=60)


def test_nothing_starts_before_the_policy_is_loaded(inferring):
    """Loading happens on a thread while simulators come up."""
    gate = threading.Event()

    class Slow(Doubler):
        def open(self, n_threads):
            gate.wait(60)
            self.n_threads = n_threads
            return self

    policy = Slow()
    inference = inferring(policy, wait=False)
    assert not inference.has_free_slot()
    gate.set()
    select.select([inference.wake_descriptor], [], [], 60)
    until = monotonic() + 60
    while not inference.has_free_slot():
        assert monotonic() < until

    assert policy.n_threads == 1


def test_slots_are_passes_side_by_side(inferring):
    """Two passes of a policy with two slots meet; there is no third slot."""
    meeting = threading.Barrier(2, timeout=60)

    class Meeting(Doubler):
        def predict(self, observations, memories):
            meeting.wait()
            return super().predict(observations, memories)

    inference = inferring(Meeting(), 1)
    inference.submit([request(1.0)])
    assert inference.has_free_slot()
    inference.submit([request(2.0)])
    assert not inference.has_free_slot()

    assert len(collect(inference, 2)) == 2
    assert inference.has_free_slot()


def test_a_policy_that_draws_from_the_global_generators_is_asked_one_by_one(inferring):
    """With the episode's own states in them: the same numbers, whatever was drawn in between."""

    class Noisy(Doubler):
        randomness = "global"
        batch_size = 8

        def predict(self, observations, memories):
            assert len(observations) == 1
            return [np.random.normal(size=(1, 1))]

    def draw(inference: Inference, asked: InferenceRequest) -> float:
        inference.submit([asked])
        return float(collect(inference, 1)[0].chunk[0, 0])

    inference = inferring(Noisy(), 5)
    a, b = request(1.0, 1), request(1.0, 2)
    together = [draw(inference, asked) for asked in (a, b, a, b, a)]
    alone = [draw(inference, asked) for asked in [request(1.0, 1)] * 3]

    assert inference.batch_size == 1
    assert together[::2] == alone
    assert len(set(together)) == 5


def test_closing_gives_threads_and_descriptors_back():
    """Also while a pass is under way."""
    before = n_descriptors(), threading.active_count()
    inference = Inference(Doubler(), n_threads=1, batch_size=1)
    while not inference.has_free_slot():
        sleep(0.001)
    inference.submit([request(1.0)])
    inference.close()

    until = monotonic() + 60
    while threading.active_count() > before[1] and monotonic() < until:
        sleep(0.001)
    assert n_descriptors() <= before[0]
    assert threading.active_count() <= before[1]


def test_no_more_passes_run_side_by_side_than_there_are_workers_to_wait_for_them():
    """A policy behind a server bears many; the part of the time that inference is busy is of those that can be used."""

    class Generous(FakePolicy):
        def __init__(self):
            super().__init__()
            self.n_slots = 64

    for max_slots, n_slots in ((3, 3), (100, 64)):
        inference = Inference(Generous(), n_threads=1, batch_size=1, max_slots=max_slots)
        try:
            while not inference.has_free_slot():
                pass
            assert inference.n_slots == n_slots
        finally:
            inference.close()
