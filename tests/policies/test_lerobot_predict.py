"""Prediction: bit for bit what LeRobot's own loop gives, whatever else happens in between."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import pytest
from lerobot_samples import ALONE, KINDS, Episode, LeRobotLoop, frames, new_memory, observation_at

from proctor.errors import ConfigError, ResourceError
from proctor.policies.lerobot import load
from proctor.types import Observation

torch = pytest.importorskip("torch")
pytest.importorskip("lerobot")

GIVE_NO_MORE = {"ensemble", "actor", "vqbet", "vqbet-sequential", "pi0_fast", *(ALONE - {"fastwam"})}
"""Those that predict single actions, or only as many as they execute."""
TOGETHER = sorted(KINDS.keys() - ALONE)
"""Those whose episodes may share a pass."""


def open_policy(path, n_threads=1, **fields):
    return load({"path": str(path), "device": "cpu", **fields}).open(n_threads)


def lerobot_actions(directory, frames, overrides=(), seed=7):
    """The actions of one episode as ``lerobot-eval`` computes them, one step at a time."""
    loop = LeRobotLoop(directory, new_memory(seed).stream, overrides=overrides)
    return np.stack([loop.act(frame) for frame in frames])


@pytest.mark.parametrize("name", KINDS)
def test_an_episode_has_the_actions_of_lerobots_own_loop(checkpoints, name):
    """Queues, temporal ensembling, history, normalisation and noise, to the last bit."""
    policy = open_policy(checkpoints[name])
    seen = frames(seed=1)

    actions = Episode(policy, seen).run()

    assert actions.dtype == np.float32
    np.testing.assert_array_equal(actions, lerobot_actions(checkpoints[name], seen))


@pytest.mark.parametrize("name", KINDS)
def test_a_whole_chunk_begins_with_the_actions_that_are_executed_before_the_next_look(checkpoints, name):
    """It has all that the checkpoint predicts; of those that give single actions or a queue, it has no more."""
    source = load({"path": str(checkpoints[name]), "device": "cpu"})
    policy, (whole, cut) = source.open(1), (new_memory(), new_memory())
    whole.whole_chunks = True
    observation = observation_at(policy, frames(seed=1), 3)

    def predict(memory):
        with memory.stream.swapped_in() if name in ALONE else nullcontext():
            return policy.predict([observation], [memory])[0]

    chunk, executed = predict(whole), predict(cut)

    assert len(executed) == policy.n_action_steps
    np.testing.assert_array_equal(chunk[: len(executed)], executed)
    gives_no_more = name in GIVE_NO_MORE
    assert len(chunk) == (len(executed) if gives_no_more else source.checkpoint.chunk_size)


def test_no_type_of_lerobots_is_missing(checkpoints):
    """What it registers is among the kinds above."""
    from lerobot.configs.policies import PreTrainedConfig

    of_kinds = {json.loads((checkpoints[name] / "config.json").read_text())["type"] for name in KINDS}

    assert set(PreTrainedConfig.get_known_choices()) <= of_kinds


def test_actions_depend_on_what_is_seen_and_stay_near_the_range_of_pusht(checkpoints):
    """Otherwise the comparisons above and below would prove little."""
    policy = open_policy(checkpoints["act"])

    one, other = Episode(policy, frames(seed=1)).run(), Episode(policy, frames(seed=2)).run()

    assert np.abs(one - other).max() > 1
    assert -100 < one.min() < one.max() < 612


def test_a_vector_of_bytes_is_no_image(checkpoints):
    """The policy is given its numbers."""
    policy, seen = open_policy(checkpoints["act"]), frames(seed=1, n=6)
    for frame in seen:
        frame["observation.state"] = np.uint8([100, 200])
    as_floats = [frame | {"observation.state": np.float64([100, 200])} for frame in seen]

    np.testing.assert_array_equal(Episode(policy, seen).run(), Episode(policy, as_floats).run())


@pytest.mark.parametrize("name", KINDS)
def test_two_interleaved_episodes_equal_each_alone(checkpoints, name):
    """Nothing of an episode stays in the policy."""
    policy = open_policy(checkpoints[name])
    first, second = Episode(policy, frames(seed=1), seed=1), Episode(policy, frames(seed=2), seed=2)
    for _ in range(3):
        first.step()
    for _ in range(15):
        second.step()
        first.step()

    assert np.array_equal(first.executed, Episode(policy, frames(seed=1), seed=1).run())
    assert np.array_equal(second.executed, Episode(policy, frames(seed=2), seed=2).run()[:15])


@pytest.mark.parametrize("name", TOGETHER)
def test_a_row_does_not_depend_on_its_neighbours(checkpoints, name):
    """At one fixed batch shape and place, noise included. What the engine pads with does not matter either."""
    policy = open_policy(checkpoints[name])
    seen = [observation_at(policy, frames(seed), 0) for seed in range(4)]

    def chunks_of(*seeds):
        return policy.predict([seen[seed] for seed in seeds], [new_memory(seed) for seed in seeds])

    first, others = chunks_of(0, 1, 2, 3), chunks_of(2, 1, 1, 3)

    assert len({chunk.tobytes() for chunk in first}) == 4
    np.testing.assert_array_equal(others[1], first[1])
    np.testing.assert_array_equal(others[3], first[3])


@pytest.mark.parametrize("name", TOGETHER)
def test_a_row_is_what_batch_one_gives_up_to_rounding(checkpoints, name):
    """It draws the very same random numbers."""
    policy = open_policy(checkpoints[name])
    seen = [observation_at(policy, frames(seed), 0) for seed in range(3)]

    together = policy.predict(seen, [new_memory(seed) for seed in range(3)])
    alone = [policy.predict([seen[seed]], [new_memory(seed)])[0] for seed in range(3)]

    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-2)


def test_sentences_of_different_length_share_a_pass(checkpoints):
    """SmolVLA pads to the longest beside it; here a row's shape, and so its last bits, depend on nobody else."""
    policy = open_policy(checkpoints["smolvla"])
    arrays = observation_at(policy, frames(seed=1), 0).arrays
    short, long = Observation(arrays, "push"), Observation(arrays, "push the T-shaped block onto the target, gently")

    beside_short = policy.predict([short, short], [new_memory(), new_memory()])
    beside_long = policy.predict([short, long], [new_memory(), new_memory()])

    np.testing.assert_array_equal(beside_short[0], beside_long[0])
    assert not np.array_equal(beside_long[0], beside_long[1])


def test_a_pass_that_raises_draws_nothing(checkpoints):
    """Its observations are asked again one by one, and must get what they would have got."""
    policy = open_policy(checkpoints["smolvla"])
    seen = observation_at(policy, frames(seed=1), 0)
    broken = Observation({**seen.arrays, "observation.state": np.zeros((1, 5))}, "push")
    memory = new_memory()
    expected = policy.predict([seen], [new_memory()])

    with pytest.raises(RuntimeError):
        policy.predict([broken], [memory])

    np.testing.assert_array_equal(policy.predict([seen], [memory]), expected)


def test_temporal_ensembles_of_one_batch_are_apart(checkpoints):
    """Each row is averaged with its own episode's past."""
    policy = open_policy(checkpoints["ensemble"])
    one, other = frames(seed=1), frames(seed=2)
    memories = [new_memory(), new_memory()]
    for step in range(4):
        together = policy.predict([observation_at(policy, seen, step) for seen in (one, other)], memories)

    alone = Episode(policy, one[:4]).run()[-1]

    np.testing.assert_allclose(together[0][0], alone, rtol=1e-5)
    assert not np.allclose(together[1][0], alone, rtol=1e-3)


def test_a_batch_too_large_for_the_device_is_halved_from_then_on(checkpoints, monkeypatch):
    """Nothing is drawn twice and nobody's past is lost; a single row that does not fit is an error."""
    policy, roomy = open_policy(checkpoints["smolvla"]), open_policy(checkpoints["smolvla"])
    seen = [observation_at(policy, frames(seed), 0) for seed in range(4)]
    memories, others = [new_memory(seed) for seed in range(4)], [new_memory(seed) for seed in range(4)]
    sizes = []

    def with_room_for(n, predict=policy._predict):
        def limited(observations, memories):
            sizes.append(len(observations))
            if len(observations) > n:
                with memories[0].stream.rewound_on_error():
                    memories[0].stream.torch_generator("cpu").seed()
                    raise torch.OutOfMemoryError("CUDA out of memory.")
            return predict(observations, memories)

        monkeypatch.setattr(policy, "_predict", limited)

    with_room_for(2)
    with pytest.warns(UserWarning, match="no memory for 4 observations at once; going on with 2"):
        first = policy.predict(seen, memories)
    second = policy.predict(seen, memories)

    assert sizes == [4, 2, 2, 2, 2]
    halves = [roomy.predict(seen[half], others[half]) for half in (slice(2), slice(2, 4)) * 2]
    np.testing.assert_array_equal(first + second, [chunk for half in halves for chunk in half])
    with_room_for(0)
    with pytest.warns(UserWarning, match="going on with 1"), pytest.raises(ResourceError, match="a single observation"):
        policy.predict(seen, memories)


def test_two_threads_at_once_give_what_one_gives(checkpoints):
    """A policy without randomness may be asked from several threads."""
    policy = open_policy(checkpoints["act"])
    episodes = [[Episode(policy, frames(seed)) for seed in range(4)] for _ in range(2)]

    with ThreadPoolExecutor(2) as threads:
        at_once = list(threads.map(Episode.run, episodes[0]))

    np.testing.assert_array_equal(at_once, [episode.run() for episode in episodes[1]])


def test_the_number_of_threads_holds_in_whichever_thread_predicts(checkpoints):
    """PyTorch keeps it per thread."""
    policy = open_policy(checkpoints["act"], n_threads=2)

    def threads_after_predicting():
        Episode(policy, frames(seed=1)).step()
        return torch.get_num_threads()

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(threads_after_predicting).result() == 2


def test_overridden_fields_change_the_policy_as_they_do_in_lerobot(checkpoints):
    """As numbers, and as the strings a command line gives."""
    seen = frames(seed=1)

    steps = Episode(open_policy(checkpoints["act"], n_action_steps="3"), seen).run()
    ensemble = Episode(open_policy(checkpoints["act"], temporal_ensemble_coeff="0.5"), seen).run()

    np.testing.assert_array_equal(steps, lerobot_actions(checkpoints["act"], seen, ["--n_action_steps=3"]))
    overrides = ["--n_action_steps=1", "--temporal_ensemble_coeff=0.5"]
    np.testing.assert_array_equal(ensemble, lerobot_actions(checkpoints["act"], seen, overrides))


def test_mixed_precision_is_numerically_near(checkpoints):
    """``use_amp`` computes in bfloat16 on a CPU and still gives float32 actions."""
    seen = frames(seed=1)
    full, mixed = (Episode(open_policy(checkpoints["act"], use_amp=amp), seen).run() for amp in (False, True))

    assert mixed.dtype == np.float32
    assert 0 < np.abs(full - mixed).max() < 10


def test_autocast_is_numerically_near_and_says_so(checkpoints):
    seen = frames(seed=1)
    full, mixed = (open_policy(checkpoints["act"], **how) for how in ({}, {"autocast": "bfloat16"}))

    difference = np.abs(Episode(full, seen).run() - Episode(mixed, seen).run())

    assert 0 < difference.max() < 10
    assert "exactness" not in full.fingerprint()
    assert mixed.fingerprint()["exactness"] == "numerical"
    assert mixed.fingerprint()["overrides"]["autocast"] == "bfloat16"


def test_an_act_that_proctor_compiles_is_numerically_near_and_says_so(checkpoints, monkeypatch):
    """The backend captures the network and leaves its operators as they are, which takes seconds and no compiler."""
    compiled = []
    stock = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda module: compiled.append(module) or stock(module, backend="aot_eager")
    )
    seen = frames(seed=1)[:3]
    plain, ours = (open_policy(checkpoints["act"], **how) for how in ({}, {"compile": "true"}))

    np.testing.assert_allclose(Episode(ours, seen).run(), Episode(plain, seen).run(), rtol=1e-3, atol=1e-2)

    assert [type(module).__name__ for module in compiled] == ["ACT"]
    assert ours.fingerprint()["exactness"] == "numerical"
    assert ours.fingerprint()["overrides"]["compile"] is True


def test_a_type_of_policy_that_nobody_can_compile_is_refused(checkpoints):
    with pytest.raises(ConfigError, match=r"policy\.compile: a 'vqbet' policy cannot be compiled; leave it out"):
        load({"path": str(checkpoints["vqbet"]), "compile": True})


@pytest.mark.prove
def test_a_compiled_policy_is_numerically_near(checkpoints):
    """And draws what it would draw otherwise. Compiling takes a minute and more."""
    seen = frames(seed=1)
    fields = {"compile": True, "compile_mode": "default"}
    plain, compiled = (Episode(open_policy(checkpoints["diffusion"], **how), seen).run() for how in ({}, fields))

    np.testing.assert_allclose(compiled, plain, rtol=1e-3, atol=1e-2)


def test_a_policy_that_cannot_be_compiled_is_refused_before_anything_runs(checkpoints, monkeypatch):
    """No compiler, an operation that torch cannot compile: it shows when the model is first called."""

    def without_compiler(model, **_):
        def fail(*args, **kwargs):
            raise RuntimeError("No working C++ compiler found.\nSet TORCHDYNAMO_VERBOSE=1")

        monkeypatch.setattr(model, "forward", fail)
        return model

    monkeypatch.setattr(torch, "compile", without_compiler)

    with pytest.raises(
        ConfigError, match=r"cannot compile this policy here \(No working C\+\+ compiler found\); leave"
    ):
        open_policy(checkpoints["diffusion"], compile=True)


def test_observations_are_renamed_and_those_not_wanted_dropped(checkpoints):
    """An environment may call a camera otherwise, and have more of them."""
    renames = {"observation.images.top": "observation.image"}
    policy = load({"path": str(checkpoints["act"])}, renames).open(1)
    seen = frames(seed=1)
    renamed = [
        {
            "observation.images.top": frame["observation.image"],
            "observation.images.extra": np.zeros((9, 9, 3), np.uint8),
        }
        | {"observation.state": frame["observation.state"]}
        for frame in seen
    ]

    actions = Episode(policy, renamed).run()

    np.testing.assert_array_equal(actions, Episode(open_policy(checkpoints["act"]), seen).run())
