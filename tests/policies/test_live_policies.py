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
from proctor.errors import ConfigError, FingerprintError
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
