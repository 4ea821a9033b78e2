"""A LeRobot policy that exists as an object, as in a training loop: evaluated as it is now, and left as it is.

Its configuration and processors are written to files as a checkpoint's, and its weights are the object's: a copy that
shares them and nothing else predicts, so that neither modes, queues and caches nor random states of the object change.
Importing this imports neither torch nor lerobot.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from proctor.errors import CheckpointError, ConfigError
from proctor.policies.lerobot.checkpoint import Checkpoint
from proctor.policies.lerobot.files import CONFIG, POSTPROCESSOR, PREPROCESSOR, CheckpointFiles
from proctor.policies.lerobot.normalisation import check_normalisation
from proctor.policies.lerobot.overrides import override
from proctor.policies.lerobot.policy_types import policy_type_of
from proctor.policies.lerobot.source import LeRobotSource, load
from proctor.policies.lerobot.steps import has_relative_actions
from proctor.policies.lerobot.training_statistics import training_of

if TYPE_CHECKING:
    from proctor.policies.lerobot.model import Loaded

_HOW_TO_GIVE = (
    "give those it is trained with: evaluate(policy, env, preprocessor=…, postprocessor=…), as LeRobot's "
    "make_pre_post_processors returns them"
)


@dataclass(frozen=True)
class ObjectWeights:
    """The weights of a policy object, as they are when they are read.

    Attributes:
        model: the object, a ``PreTrainedPolicy``.
        processors: preprocessor and postprocessor, each a ``PolicyProcessorPipeline``.
        description: a digest of configuration and processors.
        change: the object may be trained further; False if it is a copy.
    """

    model: Any
    processors: tuple[Any, Any]
    description: bytes
    change: bool = True

    @property
    def sources(self) -> tuple[type, ...]:
        """The class of the object, which may be the caller's own."""
        return (type(self.model),)

    def load(self, checkpoint: Checkpoint) -> Loaded:
        """Give the policy as it is now, on the device it is on."""
        import torch

        from proctor.policies.lerobot.copies import sharing_weights
        from proctor.policies.lerobot.cpu import prepare_for_cpu
        from proctor.policies.lerobot.model import Loaded

        device = torch.device(str(checkpoint.device))
        model = sharing_weights(self.model).eval()
        model.reset()
        if device.type == "cpu":
            prepare_for_cpu(model)
        preprocessor, postprocessor = deepcopy(self.processors)  # in one: a step may refer to one of the other's
        for step in preprocessor.steps:
            match getattr(type(step), "_registry_name", None):
                case "device_processor":
                    step.device = str(device)
                    step.__post_init__()
                case "rename_observations_processor":  # the policy renames and drops observations itself
                    step.rename_map = {}
        checkpoint.policy_type.load_rest(model, preprocessor)
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # inference has a stream of its own
        return Loaded(model, preprocessor, postprocessor, device)

    def frozen(self) -> ObjectWeights:
        """Copy the object and its processors, so that the original can be trained meanwhile."""
        from proctor.policies.lerobot.copies import with_own_weights

        return replace(self, model=with_own_weights(self.model), processors=deepcopy(self.processors), change=False)

    def digest(self) -> str:
        """Give a digest of description and weights. It is computed each time, since weights change."""
        total = hashlib.sha256(self.description)
        tensors = list(_tensors(self.model))
        with ThreadPoolExecutor() as pool:
            for (name, _), digest in zip(tensors, pool.map(_digest_of, (each for _, each in tensors)), strict=True):
                total.update(name.encode() + b"\0" + digest)
        return total.hexdigest()


def live_policy(
    model: Any,
    preprocessor: Any = None,
    postprocessor: Any = None,
    rename_map: Mapping[str, str] | None = None,
    device: str | None = None,
) -> LeRobotSource | None:
    """Make a policy of a policy object of LeRobot's; None if ``model`` is not a PyTorch module.

    Processors that are not given are those beside the weights that ``model.config.pretrained_path`` names, if these are
    the model's. ``rename_map`` is observation key of the environment → key of the policy, by default the
    preprocessor's own. If ``device`` is another one than the model's, a copy of the model is made there now. A PEFT
    model is taken as the policy that it has put its layers into.

    Raises:
        ConfigError: the module is not a LeRobot policy, or its processors are not known; the message says what to give.
        CheckpointError: the configuration cannot be evaluated.
    """
    if not _is_a("torch", "nn.Module", model):
        return None
    if _is_a("peft", "PeftModel", model):
        model = model.get_base_model()
    if not _is_a("lerobot.policies.pretrained", "PreTrainedPolicy", model):
        raise ConfigError(_no_policy(model))
    if getattr(model.config, "compile_model", False):
        raise ConfigError(
            "The policy was made with compile_model, and what is compiled cannot be evaluated apart from the object: "
            "save it with save_pretrained and evaluate that directory, or make it without."
        )
    if (processors := _given(preprocessor, postprocessor)) is None:
        from proctor.policies.lerobot.model import saved_processors

        checkpoint = _loaded_from(model)
        processors, rename_map = saved_processors(checkpoint, model.config), rename_map or checkpoint.rename_map
    if device not in (None, _device_of(model)):
        from proctor.policies.lerobot.copies import with_own_weights

        model = with_own_weights(model, device)
    with TemporaryDirectory(prefix="proctor-") as directory:
        return _described(model, processors, Path(directory), rename_map)


def _described(
    model: Any, processors: tuple[Any, Any], directory: Path, rename_map: Mapping[str, str] | None
) -> LeRobotSource:
    """Write configuration and processors into ``directory``, and read them as a checkpoint's."""
    model.config._save_pretrained(directory)  # noqa: SLF001 - save_pretrained may write a model card, too
    for pipeline, name in zip(processors, (PREPROCESSOR, POSTPROCESSOR), strict=True):
        pipeline.save_pretrained(directory, config_filename=name)
    total = hashlib.sha256()
    for file in sorted(directory.iterdir()):
        total.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    config = json.loads((directory / CONFIG).read_bytes())
    before, after = (json.loads((directory / name).read_bytes())["steps"] for name in (PREPROCESSOR, POSTPROCESSOR))
    renamed = [step["config"]["rename_map"] for step in before if "rename_map" in step["config"]]
    files = CheckpointFiles(directory, config, (), False, before, after, ())
    policy_type = policy_type_of(config, relative_actions=has_relative_actions(files, config, {}))
    check_normalisation(files, config, {})
    names = rename_map or next(iter(renamed), {})
    checkpoint = Checkpoint(
        files=files,
        policy_type=policy_type,
        config=override(config, {}, policy_type),
        overrides={},
        rename_map=names,
        device=_device_of(model),
        known_training=training_of(files, config, names),  # the files are gone when the policy is used
    )
    return LeRobotSource(checkpoint, ObjectWeights(model, processors, total.digest()))


def _is_a(module: str, name: str, value: Any) -> bool:
    """Say whether ``value`` is an instance of a class of a module; it is not if the module has not been imported."""
    found = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return isinstance(found, type) and isinstance(value, found)


def _no_policy(module: Any) -> str:
    name = type(module).__name__
    for path, part in module.named_modules():
        if _is_a("lerobot.policies.pretrained", "PreTrainedPolicy", part):
            return f"{name} is not a LeRobot policy but holds one: give that, as policy.{path}."
    return (
        f"{name} is a PyTorch module and not a LeRobot policy: give a function from an observation to actions around "
        "it, such as lambda observation: "
        "module(torch.as_tensor(observation['observation.state'], dtype=torch.float32))."
    )


def _given(preprocessor: Any, postprocessor: Any) -> tuple[Any, Any] | None:
    """Check the processors that the caller gave; None if there are none."""
    if preprocessor is None and postprocessor is None:
        return None
    for name, pipeline in (("preprocessor", preprocessor), ("postprocessor", postprocessor)):
        if not hasattr(pipeline, "steps") or not hasattr(pipeline, "save_pretrained"):
            what = "missing" if pipeline is None else f"a {type(pipeline).__name__}"
            raise ConfigError(
                f"{name} is {what}; both are PolicyProcessorPipeline objects, as LeRobot's make_pre_post_processors "
                "returns them."
            )
    return preprocessor, postprocessor


def _loaded_from(model: Any) -> Checkpoint:
    """Load the checkpoint that the model's weights came from, which holds its processors.

    If the weights have changed since, its processors are not known: a policy that is fine-tuned still names its base,
    whose data set had other statistics.
    """
    if (path := model.config.pretrained_path) is None:
        raise ConfigError(
            "The policy's processors are not known, as its configuration has no pretrained_path: set "
            f"policy.config.pretrained_path to the directory it was loaded from, or {_HOW_TO_GIVE}."
        )
    try:
        checkpoint = load({"path": str(path), "device": _device_of(model)}).checkpoint
    except CheckpointError as error:
        raise ConfigError(
            f"The policy's processors are not known ({str(error).rstrip('.')}): {_HOW_TO_GIVE}."
        ) from error
    if checkpoint.files.preprocessor is None or not _has_weights_of(model, checkpoint.files):
        raise ConfigError(
            f"The policy's processors are not known, as its weights are not those of {path}, which its configuration "
            f"names: {_HOW_TO_GIVE}."
        )
    return checkpoint


def _has_weights_of(model: Any, files: CheckpointFiles) -> bool:
    import torch
    from safetensors import safe_open

    state = model.state_dict()
    weights = [file for file in files.all_files if file.suffix == ".safetensors" and file.name.startswith("model")]
    for file in weights:
        with safe_open(file, "pt") as saved:
            for name in saved.keys():  # noqa: SIM118 - it is not a mapping
                there = state.get(name)
                if there is None or not torch.equal(saved.get_tensor(name).to(there.dtype), there.cpu()):
                    return False
    return bool(weights) and not files.is_adapter


def _device_of(model: Any) -> str:
    return next((str(tensor.device) for _, tensor in _tensors(model)), "cpu")


def _tensors(model: Any) -> Iterator[tuple[str, Any]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _digest_of(tensor: Any) -> bytes:
    """Digest the dtype, shape and bits of a tensor on any device."""
    import torch

    bits = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    total = hashlib.sha256(f"{tensor.dtype}{list(tensor.shape)}".encode() + b"\0")
    total.update(bits)
    return total.digest()
