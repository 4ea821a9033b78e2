"""Checks the steps of a checkpoint's processors. Only :func:`register_plugin_steps` imports lerobot or a plug-in.

LeRobot builds a step from the name it is registered under, or from an import path under ``class``: it imports any
module that is named there and calls what it finds. Here a step needs a name, and the name must be one of LeRobot's own
or be registered by a package that the user installed.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from proctor.errors import CheckpointError, ConfigError
from proctor.policies.lerobot.files import CONFIG, POSTPROCESSOR, PREPROCESSOR, CheckpointFiles

LEROBOT_STEPS = frozenset(
    """
    absolute_actions_processor action_tokenizer_processor add_teleop_action_as_complementary_data
    add_teleop_action_as_info current_processor device_processor ee_bounds_and_safety ee_reference_and_delta
    eo1_conversation_template_processor eo1_qwen_processor evo1_action_processor evo1_pad_action_processor
    evo1_pad_state_processor fastwam_action_toggle_processor forward_kinematics_joints_to_ee
    forward_kinematics_joints_to_ee_action forward_kinematics_joints_to_ee_observation gripper_penalty_processor
    gripper_velocity_to_joint groot_action_unpack_unnormalize_v1 groot_action_unpack_unnormalize_v2
    groot_eagle_collate_v3 groot_eagle_encode_v3 groot_n1_7_action_decode_v1 groot_n1_7_pack_inputs_v1
    groot_n1_7_vlm_encode_v1 groot_pack_inputs_v3 gym_hil_adapter_processor image_crop_resize_processor
    intervention_action_processor inverse_kinematics_ee_to_joints inverse_kinematics_rl_step
    isaaclab_arena_processor joint_velocity_processor libero_processor map_delta_action_to_robot_action
    map_phone_action_to_robot_action map_tensor_to_delta_action_dict molmoact2_action_frame_transform
    molmoact2_clamp_action molmoact2_clamp_normalized molmoact2_masked_normalizer molmoact2_masked_unnormalizer
    molmoact2_pack_inputs molmoact2_state_frame_transform normalizer_processor numpy2torch_action_processor
    observation_processor pi05_prepare_state_tokenizer_processor_step
    pi0_fast_prepare_state_tokenizer_processor_step pi0_new_line_processor
    policy_action_to_robot_action_processor relative_actions_processor rename_observations_processor
    render_messages_processor reward_classifier_processor robometer_encoder
    robot_action_to_policy_action_processor smolvla_new_line_processor time_limit_processor to_batch_processor
    to_batch_processor_action to_batch_processor_complementary_data to_batch_processor_observation
    tokenizer_processor topreward_encoder torch2numpy_action_processor unnormalizer_processor
    vla_jepa_binarize_gripper vla_jepa_clip_actions vla_jepa_pre_snap_gripper wall_x_task_processor
    xvla_add_domain_id xvla_image_scale xvla_image_to_float xvla_imagenet_normalize
    xvla_rotation_6d_to_axis_angle
    """.split()  # noqa: SIM905 - the eighty of them, a line each or quoted, hide what follows
)
"""Every name that LeRobot 0.4.4 or 0.6.1 registers in any of its modules."""

LEROBOT_CLASSES = frozenset(
    {
        "lerobot.processor.pipeline.IdentityProcessorStep",
        "lerobot.policies.xvla.processor_xvla.LiberoProcessorStep",
    }
)
"""LeRobot's steps for policies that it does not register, so that it saves them by class. Neither loads anything."""

_RELATIVE = "use_relative_actions"
_PLUGIN_PREFIXES = ("lerobot_robot_", "lerobot_camera_", "lerobot_teleoperator_", "lerobot_policy_", "lerobot_env_")


def check_steps(file: Path, steps: Sequence[Mapping[str, Any]]) -> None:
    """Refuse steps that LeRobot must not be asked to build. ``file`` lists them.

    A name that is not LeRobot's own passes if it is registered in this process already, or if there are plug-ins that
    may register it: :func:`register_plugin_steps` checks that once they are imported.

    Raises:
        CheckpointError: names file, step and what to do.
    """
    for number, step in enumerate(steps):
        name, path = step.get("registry_name"), step.get("class")
        if path is not None and not (isinstance(path, str) and path in LEROBOT_CLASSES):
            raise CheckpointError(
                f"{file} names step {number} by the class {path!r}, which LeRobot would import and call; a checkpoint "
                "is data, so only steps with a registry_name are accepted: register the step in a package "
                "lerobot_policy_… that you install, and save the processors again."
            )
        if not isinstance(name, str) and ("registry_name" in step or path is None):
            raise CheckpointError(
                f"{file} gives step {number} no registry_name; it is not as LeRobot saved it: download or copy the "
                "checkpoint again."
            )
        if not isinstance(step.get("config", {}), dict):
            raise CheckpointError(
                f"{file} gives step {number} ({name or path!r}) a config that is not an object; it is not as LeRobot "
                "saved it: download or copy the checkpoint again."
            )
        if name is not None and name not in LEROBOT_STEPS | _registered_here() and not _installed_plugins():
            raise _unknown(file, name)


def has_relative_actions(files: CheckpointFiles, config: Mapping[str, Any], overrides: Mapping[str, Any]) -> bool:
    """Say whether the postprocessor adds a policy's actions to the state that its preprocessor has seen last.

    The processors decide, as in LeRobot, whatever ``use_relative_actions`` in ``config`` says; ``overrides`` are the
    fields of it that the user gave. GR00T has steps of its own for this.

    Raises:
        CheckpointError: the policy is said to give relative actions, and nothing adds them to the state.
        ConfigError: the user says something else than the processors do.
    """
    asked = bool(config.get(_RELATIVE))
    if files.postprocessor is None or config["type"] == "groot":
        return asked
    file = files.directory / POSTPROCESSOR
    added = any(
        step.get("registry_name") == "absolute_actions_processor" and (step.get("config") or {}).get("enabled")
        for step in files.postprocessor
    )
    if _RELATIVE in overrides and asked != added:
        does = "adds actions to the state" if added else "adds no actions to the state"
        raise ConfigError(f"policy.{_RELATIVE} is {asked}, but {file} {does}, whatever it is; leave the option out.")
    if asked and not added:
        raise CheckpointError(
            f"{file} has no enabled absolute_actions_processor, though {CONFIG} has {_RELATIVE}: relative actions "
            "would be executed as absolute ones; save the processors again, or, if the policy was trained on absolute "
            f"actions: --policy.{_RELATIVE}=false"
        )
    return added


def register_plugin_steps(files: CheckpointFiles) -> None:
    """Import the installed plug-ins if one of a checkpoint's steps must be theirs. This imports lerobot.

    Raises:
        CheckpointError: no plug-in registers the step.
    """
    for file, steps in ((PREPROCESSOR, files.preprocessor), (POSTPROCESSOR, files.postprocessor)):
        names = {step["registry_name"] for step in steps or () if "registry_name" in step}
        if names <= _registered_here():
            continue
        importlib.import_module("lerobot.policies")  # if it was imported for one type of policy alone
        names -= LEROBOT_STEPS
        if names <= _registered_here():
            continue
        from lerobot.utils.import_utils import register_third_party_plugins

        register_third_party_plugins()
        for name in sorted(names - _registered_here()):
            raise _unknown(files.directory / file, name)


def check_registered(files: CheckpointFiles) -> None:
    """Refuse processors with a step that is not registered although all that they need has been imported.

    Raises:
        CheckpointError: a step is not registered.
    """
    from lerobot import __version__

    for file, steps in ((PREPROCESSOR, files.preprocessor), (POSTPROCESSOR, files.postprocessor)):
        for name in sorted({step["registry_name"] for step in steps or () if "registry_name" in step}):
            if name not in _registered_here():
                raise CheckpointError(
                    f"{files.directory / file} names the step {name!r}, which lerobot {__version__} does not have for "
                    "a policy of this type; install the version that the checkpoint was made with, or save the "
                    "processors without it."
                )


def _registered_here() -> frozenset[str]:
    """Give the names that are registered in this process; none if it has not imported LeRobot's registry."""
    pipeline = sys.modules.get("lerobot.processor.pipeline")
    return frozenset(pipeline.ProcessorStepRegistry.list()) if pipeline else frozenset()


def _installed_plugins() -> Collection[str]:
    """List the distributions that LeRobot imports as its plug-ins, found as LeRobot finds them."""
    names = {distribution.metadata["Name"] or "" for distribution in distributions()}
    return sorted(name for name in names if name.startswith(_PLUGIN_PREFIXES))


def _unknown(file: Path, name: str) -> CheckpointError:
    plugins = ", ".join(_installed_plugins()) or "none is installed"
    return CheckpointError(
        f"{file} names the step {name!r}, which neither LeRobot nor an installed plug-in registers (plug-ins: "
        f"{plugins}); install the package it comes from (lerobot_policy_…), or save the processors without it."
    )
