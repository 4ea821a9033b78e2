"""A process of Proctor's own that loads checkpoints one after another, and describes each and itself in JSON.

    python lerobot_in_own_process.py {"name": "directory", …} [broken]

``broken`` has lerobot use a package that is deferred while it is imported.
"""

import hashlib
import json
import sys

from lerobot_samples import Episode, frames

from proctor.child import declare_own_process
from proctor.policies.lerobot import imports, load

SLOW = (
    "transformers",
    "diffusers",
    "peft",
    "accelerate",
    "datasets",
    "pandas",
    "torch._dynamo",
    "lerobot.policies.pi0",
)


def described(directory):
    """What a loaded checkpoint computes in an episode, and of what it is made."""
    policy = load({"path": str(directory), "device": "cpu"}).open(1)
    return {
        "actions": hashlib.sha256(Episode(policy, frames(seed=1)).run().tobytes()).hexdigest(),
        "processors": [_step(step) for each in (policy._preprocessor, policy._postprocessor) for step in each.steps],
        "model": f"{type(policy._model).__module__}.{type(policy._model).__name__} {policy._model.config}",
    }


def _step(step):
    state = {name: tensor.tolist() for name, tensor in step.state_dict().items()}
    return f"{type(step).__module__}.{type(step).__name__} {step.get_config()} {state}"


def slow_modules():
    return [name for name in SLOW if name in sys.modules]


def deferred_names():
    return [
        f"{name}.{attribute}"
        for name, module in [*sys.modules.items()]
        for attribute, value in [*vars(module).items()]
        if type(value) is imports.Deferred
    ]


def whole():
    """Use what was deferred as a user would: by importing it."""
    import datasets
    from lerobot.datasets.lerobot_dataset import LeRobotDataset
    from lerobot.policies import ACTConfig
    from lerobot.policies.act.modeling_act import ACTPolicy
    from lerobot.policies.pretrained import PreTrainedPolicy
    from transformers.dynamic_module_utils import resolve_trust_remote_code
    from transformers.generation.utils import GenerationMixin

    generate = getattr(GenerationMixin, "load_custom_generate", resolve_trust_remote_code)  # not in all versions
    return {
        "a model's code is refused": all(
            hasattr(each, "__wrapped__") for each in (resolve_trust_remote_code, generate)
        ),
        "the policy has the configuration of the package": ACTPolicy.config_class is ACTConfig,
        "there is one base class": issubclass(ACTPolicy, PreTrainedPolicy),
        "datasets is real": isinstance(datasets.Dataset, type) and isinstance(LeRobotDataset, type),
        "deferred": deferred_names(),
    }


def known_types():
    from lerobot.configs.policies import PreTrainedConfig

    return sorted(PreTrainedConfig.get_known_choices())


if __name__ == "__main__":
    declare_own_process()
    if "broken" in sys.argv:
        imports._import_policy = lambda _: imports.Deferred("transformers", "AutoModel").real()
    checkpoints = json.loads(sys.argv[1])
    found = {name: described(path) | {"slow": slow_modules()} for name, path in checkpoints.items()}
    sys.stdout.write(json.dumps({"checkpoints": found, "whole": whole(), "types": known_types()}) + "\n")
