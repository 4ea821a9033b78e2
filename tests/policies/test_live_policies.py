"""A LeRobot policy object, as a training loop has it: evaluated as it is now, and left as it is."""

from __future__ import annotations

import random
from functools import partial

import gym_pusht  # noqa: F401 - registers its environment
import gymnasium
import numpy as np
import pytest
import torch
from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.factory import get_policy_class, make_pre_post_processors

import proctor
from proctor.errors import ConfigError, FingerprintError, NoResultError
from proctor.policies.lerobot import live
from proctor.policies.lerobot.copies import with_own_weights
from proctor.policies.lerobot.live import live_policy

ENV = {"type": "pusht", "episode_length": 12}


def loaded(directory, *, names_its_path=True):
    """A policy object and its processors, as LeRobot's own functions make them."""
    config = PreTrainedConfig.from_pretrained(directory)
    config.pretrained_path = directory if names_its_path else None
    policy = get_policy_class(config.type).from_pretrained(directory, config=config)
    return policy, *make_pre_post_processors(config, str(directory))


def evaluate(policy, directory, **fields):
    return proctor.evaluate(policy, ENV, output_dir=directory, **{"n_episodes": 2, "batch_size": 2, **fields})


def measured(result):
    names = ("sum_reward", "max_reward", "length", "final_state_hash")
    return [[episode[name] for name in names] for episode in result.info["per_episode"]]


def train_a_step(policy):
    """Move every weight a little, in place, as an optimiser does."""
    optimizer = torch.optim.SGD(policy.parameters(), lr=0.05)
    sum(parameter.square().sum() for parameter in policy.parameters() if parameter.requires_grad).backward()
    optimizer.step()


@pytest.mark.parametrize("name", ["act", "diffusion", "tdmpc", "fastwam"])
def test_an_object_is_evaluated_as_the_checkpoint_that_it_would_be_saved_as(checkpoints, tmp_path, name):
    """To the bit, whether its processors are given or found beside its weights, which a step of training has moved."""
    policy, preprocessor, postprocessor = loaded(checkpoints[name])
    found = evaluate(policy, tmp_path / "found")
    assert measured(found) == measured(evaluate(checkpoints[name], tmp_path / "original"))

    train_a_step(policy.train())
    for part in (policy, preprocessor, postprocessor):
        part.save_pretrained(tmp_path / "saved")
    given = evaluate(policy, tmp_path / "given", preprocessor=preprocessor, postprocessor=postprocessor)

    assert measured(given) == measured(evaluate(tmp_path / "saved", tmp_path / "run"))
    assert given.run.fingerprint != found.run.fingerprint


@pytest.mark.filterwarnings("ignore:The rename_map names observation.nothing")
def test_the_object_is_left_as_it_is(checkpoints, tmp_path):
    """Modes of all parts, gradients, queues, weights, processors, random states, threads: training goes on unmoved."""
    policy, preprocessor, postprocessor = loaded(checkpoints["act"])
    policy.train()
    policy.model.encoder.eval()
    next(policy.parameters()).requires_grad_(False)
    policy._action_queue.append("kept")
    attributes = {name: set(vars(module)) for name, module in policy.named_modules()}
    preprocessor.steps[0].rename_map = {"observation.nothing": "observation.other"}

    def state():
        return (
            [module.training for module in policy.modules()],
            [(p.requires_grad, p.device, p._version, p.grad) for p in policy.parameters()],
            list(policy._action_queue),
            [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in policy.modules()],
            {name: set(vars(module)) for name, module in policy.named_modules()} == attributes,
            str([step.get_config() for step in (*preprocessor.steps, *postprocessor.steps)]),
            (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()),
            torch.get_num_threads(),
        )

    before = state()
    evaluate(policy, tmp_path / "run", preprocessor=preprocessor, postprocessor=postprocessor)

    assert state() == before


def test_an_object_is_known_by_what_it_is_now(checkpoints, tmp_path):
    """Weights, buffers, configuration and processors: results of others are never taken for its own."""
    policy, preprocessor, postprocessor = loaded(checkpoints["act"])
    processors = {"preprocessor": preprocessor, "postprocessor": postprocessor}

    def fingerprint():
        return dict(live_policy(policy, **processors).fingerprint())

    seen = [fingerprint()]
    assert fingerprint() == seen[0]
    evaluate(policy, tmp_path / "run", **processors)
    train_a_step(policy)
    seen.append(fingerprint())
    next(policy.buffers()).add_(1)
    seen.append(fingerprint())
    policy.config.n_action_steps -= 1
    seen.append(fingerprint())
    postprocessor.steps[0]._tensor_stats["action"]["mean"] += 1
    seen.append(fingerprint())

    assert len({str(each) for each in seen}) == len(seen)
    with pytest.raises(FingerprintError, match="something that it depends on, is not what it was"):
        evaluate(policy, tmp_path / "run", **processors)


def test_a_made_policy_sees_the_weights_its_object_has_when_it_predicts(checkpoints, tmp_path):
    """And says so in its fingerprint."""
    policy, *_ = loaded(checkpoints["act"])
    made = proctor.make_policy(policy)
    before = dict(made.fingerprint())
    one = evaluate(made, tmp_path / "one")

    train_a_step(policy)

    assert dict(made.fingerprint()) != before
    assert measured(evaluate(made, tmp_path / "two")) != measured(one)


def test_one_task_is_evaluated_too(checkpoints):
    """By the engine, and in lockstep on a vector environment of somebody else's."""
    policy, preprocessor, postprocessor = loaded(checkpoints["act"], names_its_path=False)
    processors = {"preprocessor": preprocessor, "postprocessor": postprocessor}
    make = partial(gymnasium.make, "gym_pusht/PushT-v0", obs_type="pixels_agent_pos", max_episode_steps=12)

    ours = proctor.eval_policy(proctor.make_env(ENV)["pusht"][0], policy, 1, **processors)
    theirs = proctor.eval_policy(gymnasium.vector.SyncVectorEnv([make]), policy, 1, **processors)

    assert ours["n_episodes"] == theirs["n_episodes"] == 1


def test_processors_that_are_not_known_are_asked_for(checkpoints):
    """Never guessed: a policy that is fine-tuned names a base of other statistics."""
    policy, preprocessor, _ = loaded(checkpoints["act"], names_its_path=False)
    for path, message in (
        (None, "has no pretrained_path"),
        ("nobody/nothing-here", "are not known"),
        ("/nowhere", "are not known"),
    ):
        policy.config.pretrained_path = path
        with pytest.raises(ConfigError, match=rf"{message}.*preprocessor=…, postprocessor=…"):
            live_policy(policy)
    policy.config.pretrained_path = checkpoints["act"]
    train_a_step(policy)
    with pytest.raises(ConfigError, match=r"weights are not those of .*preprocessor=…"):
        live_policy(policy)
    with pytest.raises(ConfigError, match="postprocessor is missing"):
        live_policy(policy, preprocessor)
    with pytest.raises(ConfigError, match="preprocessor is a tuple; both are PolicyProcessorPipeline"):
        live_policy(policy, (preprocessor, preprocessor), preprocessor)


def test_a_module_that_is_no_policy_of_lerobots_is_refused_with_what_to_give(checkpoints):
    """A wrapper is told where the policy is within it."""
    with pytest.raises(ConfigError, match="Linear is a PyTorch module and not a LeRobot policy: give a function"):
        proctor.evaluate(torch.nn.Linear(2, 2), "pusht")
    policy, *_ = loaded(checkpoints["act"])
    with pytest.raises(
        ConfigError, match=r"DataParallel is not a LeRobot policy but holds one: give that, as policy\.module"
    ):
        proctor.evaluate(torch.nn.DataParallel(policy), "pusht")
    with pytest.raises(ConfigError, match="ACTPolicy, not an instance"):
        proctor.evaluate(type(policy), "pusht")


def test_a_made_policy_that_is_changed_between_two_evaluations_is_evaluated_as_it_is_then(checkpoints, tmp_path):
    """Small buffers, too, of which what predicts has copies."""
    policy, preprocessor, postprocessor = loaded(checkpoints["act"])
    made = proctor.make_policy(policy)
    evaluate(made, tmp_path / "before")
    for name, buffer in policy.named_buffers():
        if name.endswith("bn1.bias"):
            buffer.add_(1)

    given = evaluate(policy, tmp_path / "given", preprocessor=preprocessor, postprocessor=postprocessor)

    assert measured(evaluate(made, tmp_path / "after")) == measured(given)


@pytest.mark.parametrize("name", ["act", "diffusion"])
def test_a_policy_is_trained_on_while_it_is_evaluated_in_the_background(checkpoints, tmp_path, name):
    """The result is that of the weights, the buffers and the processors at the call, to the bit."""
    policy, preprocessor, postprocessor = loaded(checkpoints[name])
    processors = {"preprocessor": preprocessor, "postprocessor": postprocessor}
    waited = evaluate(policy, tmp_path / "waited", **processors)
    state = torch.get_rng_state()

    with proctor.Evaluator(ENV, n_episodes=2, batch_size=2) as evaluator:
        running = evaluator(policy, wait=False, output_dir=tmp_path / "running", **processors)
        drawn = torch.rand(3)
        while (result := running.poll()) is None:
            train_a_step(policy.train())
            next(policy.buffers()).add_(1)
            postprocessor.steps[0]._tensor_stats["action"]["mean"] += 1
        now = evaluator(policy, output_dir=tmp_path / "now", **processors)

    torch.set_rng_state(state)
    assert torch.equal(torch.rand(3), drawn)
    assert measured(result) == measured(waited) != measured(now)
    assert result.run.fingerprint == waited.run.fingerprint


def test_a_made_policy_is_copied_before_the_background_too(checkpoints, tmp_path):
    """It is made of an object that may be trained."""
    policy, *_ = loaded(checkpoints["act"])
    made = proctor.make_policy(policy)
    waited = evaluate(made, tmp_path / "waited")

    with proctor.Evaluator(ENV, n_episodes=2, batch_size=2) as evaluator:
        running = evaluator(made, wait=False, output_dir=tmp_path / "running")
        train_a_step(policy)

    assert measured(running.result()) == measured(waited)


def test_a_policy_that_needs_the_global_generators_is_refused_in_the_background(checkpoints):
    """They are the training's."""
    policy, preprocessor, postprocessor = loaded(checkpoints["tdmpc"])
    with (
        proctor.Evaluator(ENV, batch_size=2) as evaluator,
        pytest.raises(ConfigError, match="type tdmpc draws from the global random generators"),
    ):
        evaluator(policy, wait=False, preprocessor=preprocessor, postprocessor=postprocessor)


def test_a_copy_with_its_own_weights_has_nothing_in_common_with_the_original(checkpoints):
    """No tensor's memory, no gradient; what is tied in one is tied in the other."""
    policy, *_ = loaded(checkpoints["act"])
    policy.tied = policy.model.action_head
    train_a_step(policy)
    copy = with_own_weights(policy, "cpu")

    def places(model):
        return {tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers()) if tensor.numel()}

    assert not places(copy) & places(policy)
    assert len(places(copy)) == len(places(policy))
    assert copy.tied.weight is copy.model.action_head.weight
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in copy.parameters())
    for name, tensor in policy.state_dict().items():
        assert torch.equal(copy.state_dict()[name], tensor)


def test_an_object_can_be_evaluated_on_another_device(checkpoints, monkeypatch, tmp_path):
    """On a copy. Here the object says that it is somewhere else; the copy is made on the CPU."""
    policy, preprocessor, postprocessor = loaded(checkpoints["act"])
    processors = {"preprocessor": preprocessor, "postprocessor": postprocessor}
    here = evaluate(policy, tmp_path / "here", **processors)
    first = next(policy.parameters())
    moved = live_policy(policy, device="cpu", **processors)
    assert moved.weights.model is policy

    monkeypatch.setattr(live, "_device_of", lambda model: "cuda:7" if model is policy else "cpu")
    moved = live_policy(policy, device="cpu", **processors)

    assert moved.weights.model is not policy
    assert next(policy.parameters()) is first
    assert (moved.checkpoint.device, moved.weights.model.config.device) == ("cpu", "cpu")
    assert measured(evaluate(moved, tmp_path / "moved")) == measured(here)
    with pytest.raises(ConfigError, match="belong to a LeRobot policy object"):
        proctor.evaluate(lambda observation: None, ENV, device="cpu")


def test_a_peft_model_is_the_policy_that_its_layers_are_in(checkpoints, tmp_path):
    """With its adapter: other weights of the adapter are another policy."""
    peft = pytest.importorskip("peft")
    policy, preprocessor, postprocessor = loaded(checkpoints["act"])
    processors = {"preprocessor": preprocessor, "postprocessor": postprocessor}
    plain = evaluate(policy, tmp_path / "plain", **processors)
    adapted = peft.get_peft_model(policy, peft.LoraConfig(target_modules=["action_head"], r=2))
    untrained = evaluate(adapted, tmp_path / "untrained", **processors)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.5)

    trained = evaluate(adapted, tmp_path / "trained", **processors)

    assert measured(untrained) == measured(plain) != measured(trained)
    assert trained.run.fingerprint != untrained.run.fingerprint


def test_the_object_is_left_as_it_is_after_an_exception_too(checkpoints, tmp_path, monkeypatch):
    """Modes and random states; and the evaluator goes on."""
    policy, preprocessor, postprocessor = loaded(checkpoints["act"])
    processors = {"preprocessor": preprocessor, "postprocessor": postprocessor}
    policy.train()
    torch.manual_seed(3)
    states = random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()

    def broken(self, batch):
        torch.rand(1)
        raise RuntimeError("broken")

    with proctor.Evaluator(ENV, n_episodes=2, batch_size=2) as evaluator:
        monkeypatch.setattr(type(policy), "predict_action_chunk", broken)
        with pytest.raises(NoResultError):
            evaluator(policy, output_dir=tmp_path / "broken", **processors)
        monkeypatch.undo()
        assert policy.training
        assert all(parameter.requires_grad for parameter in policy.model.parameters())
        assert (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()) == states
        assert evaluator(policy, output_dir=tmp_path / "whole", **processors).n_errors == 0
