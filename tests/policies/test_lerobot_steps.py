"""Which steps a checkpoint's processors may have."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from lerobot_samples import PLUGIN, edit_json

from proctor.errors import CheckpointError
from proctor.policies.lerobot import load
from proctor.policies.lerobot.policy_types import POLICY_TYPES
from proctor.policies.lerobot.steps import LEROBOT_CLASSES, LEROBOT_STEPS

pytest.importorskip("lerobot")

LEROBOT = Path(importlib.util.find_spec("lerobot").origin).parent
SIDES = ["policy_preprocessor.json", "policy_postprocessor.json"]


def refusal(directory, steps, side):
    edit_json(directory / side, steps=steps)
    with pytest.raises(CheckpointError) as raised:
        load({"path": str(directory)})
    assert raised.value.exit_code == 2
    assert "\n" not in str(raised.value)
    assert str(directory / side) in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", [*POLICY_TYPES, "octopus"])
def test_a_step_named_by_its_class_is_refused(bare, kind, side):
    """LeRobot would import and call whatever it is: whatever the type of policy, also beside a name that is known."""
    edit_json(bare / "config.json", type=kind)

    for named in ({}, {"registry_name": None}, {"registry_name": "device_processor"}):
        message = refusal(bare, [{**named, "class": "subprocess.Popen", "config": {"args": ["true"]}}], side)
        assert "step 0 by the class 'subprocess.Popen'" in message
        assert "only steps with a registry_name are accepted" in message


@pytest.mark.parametrize(
    "path",
    [
        "lerobot.processor.normalize_processor.NormalizerProcessorStep",
        "lerobot.processor.pipeline.importlib.import_module",
        "lerobot.processor.pipeline.IdentityProcessorStep.x",
        ["lerobot.processor.pipeline.IdentityProcessorStep"],
        {},
        7,
    ],
)
def test_no_other_class_is_accepted_because_it_is_lerobots(bare, path):
    """Only those steps that LeRobot does not register, each by its whole path."""
    assert "by the class" in refusal(bare, [{"class": path}], SIDES[0])


def test_the_steps_that_lerobot_saves_by_class_are_accepted(bare):
    """They are real steps of the installed version, and without a name."""
    from lerobot.processor.pipeline import ProcessorStep

    edit_json(bare / SIDES[0], steps=[{"class": path, "config": {}} for path in sorted(LEROBOT_CLASSES)])
    load({"path": str(bare)})

    for path in LEROBOT_CLASSES:
        module, _, name = path.rpartition(".")
        step = getattr(importlib.import_module(module), name)
        assert issubclass(step, ProcessorStep)
        assert getattr(step, "_registry_name", None) is None


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        ({}, "gives step 0 no registry_name"),
        ({"registry_name": 3}, "gives step 0 no registry_name"),
        ({"registry_name": ["a"]}, "gives step 0 no registry_name"),
        ({"registry_name": "device_processor", "config": "cpu"}, r"a config that is not an object"),
        ({"registry_name": "grow_wings"}, "the step 'grow_wings', which neither LeRobot nor an installed plug-in"),
    ],
)
def test_a_step_that_nobody_has(bare, monkeypatch, step, sentence):
    monkeypatch.setattr("proctor.policies.lerobot.steps.distributions", list)

    assert sentence in refusal(bare, [step], SIDES[1])


def test_a_step_of_another_lerobot_or_of_a_robot_is_named(checkpoints, tmp_path):
    """LeRobot lists all the steps that it has in place of a reason."""
    directory = tmp_path / "copy"
    shutil.copytree(checkpoints["act"], directory)
    steps = json.loads((directory / SIDES[0]).read_text())["steps"]
    step = {"registry_name": "forward_kinematics_joints_to_ee", "config": {}}
    edit_json(directory / SIDES[0], steps=[*steps, step])

    sentence = (
        r"policy_preprocessor.json names the step 'forward_kinematics_joints_to_ee', which lerobot .* does not have"
    )
    with pytest.raises(CheckpointError, match=sentence):
        load({"path": str(directory), "device": "cpu"}).open(1)


def test_the_list_holds_every_step_of_the_installed_lerobot():
    """As its source registers them, each in a module of its own that need not be imported."""
    registration = re.compile(r"@ProcessorStepRegistry\.register\(\s*(?:name=)?\"(\w+)\"")
    names = {name for file in LEROBOT.rglob("*.py") for name in registration.findall(file.read_text())}

    assert len(names) > 50
    assert names <= LEROBOT_STEPS


def test_steps_are_checked_before_lerobot_is_imported(bare):
    """In an interpreter of its own."""
    edit_json(bare / SIDES[0], steps=[{"class": "subprocess.Popen"}])
    script = (
        "import sys; from proctor.errors import CheckpointError; from proctor.policies.lerobot import load\n"
        f"try: load({{'path': {str(bare)!r}}})\n"
        "except CheckpointError: print(sorted({'torch', 'lerobot'} & set(sys.modules)))\n"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_a_step_of_a_plug_in_that_is_installed(checkpoints, tmp_path):
    """It is known once the plug-in is imported: the checkpoint is opened, and refused if no plug-in has the step.

    In an interpreter of its own, because a plug-in is imported once.
    """
    paths = {name: shutil.copytree(checkpoints["actor"], tmp_path / name) for name in ("wanderer_pause", "grow_wings")}
    for name, path in paths.items():
        steps = json.loads((path / SIDES[0]).read_text())["steps"]
        edit_json(path / SIDES[0], steps=[*steps, {"registry_name": name, "config": {}}])
    script = (
        "from proctor.errors import CheckpointError; from proctor.policies.lerobot import load\n"
        f"load({{'path': {str(paths['wanderer_pause'])!r}}}).open(1)\n"
        f"try: load({{'path': {str(paths['grow_wings'])!r}}}).open(1)\n"
        "except CheckpointError as error: print(error)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(PLUGIN), os.environ.get("PYTHONPATH", "")])}

    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)

    assert f"{paths['grow_wings'] / SIDES[0]} names the step 'grow_wings', which neither" in done.stdout
    assert "(plug-ins: lerobot_policy_wanderer)" in done.stdout
