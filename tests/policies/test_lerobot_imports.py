"""A process of Proctor's own imports what a type of policy needs of lerobot; only the time differs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from lerobot_in_own_process import described, known_types, slow_modules

from proctor.policies.lerobot import imports, load

pytest.importorskip("torch")
pytest.importorskip("lerobot")

SCRIPT = Path(__file__).with_name("lerobot_in_own_process.py")
LIGHT = ("act", "vqbet", "tdmpc", "diffusion")


def own_process(checkpoints, *names, how=()):
    """Run the script; returns what it prints and what it warns of."""
    given = json.dumps({name: str(checkpoints[name]) for name in names})
    run = subprocess.run([sys.executable, SCRIPT, given, *how], capture_output=True, text=True, check=True, timeout=300)
    return json.loads(run.stdout.splitlines()[-1]), run.stderr


@pytest.fixture(scope="module")
def process(checkpoints):
    return own_process(checkpoints, *LIGHT, "smolvla")


@pytest.mark.parametrize("name", LIGHT)
def test_actions_weights_and_processors_are_those_of_the_whole_lerobot(process, checkpoints, name):
    found = dict(process[0]["checkpoints"][name])
    found.pop("slow")

    assert found == described(checkpoints[name])


@pytest.mark.parametrize(("name", "slow"), [*((name, []) for name in LIGHT[:3]), ("diffusion", ["diffusers"])])
def test_packages_that_the_type_does_not_need_are_not_imported(process, name, slow):
    assert process[0]["checkpoints"][name]["slow"] == slow
    assert "cannot be imported" not in process[1]


def test_a_policy_that_needs_all_of_lerobot_loads_in_the_same_process(process, checkpoints):
    found = dict(process[0]["checkpoints"]["smolvla"])

    assert "transformers" in found.pop("slow")
    assert found == described(checkpoints["smolvla"])


def test_whoever_imports_lerobot_afterwards_finds_all_of_it(process):
    assert process[0]["whole"] == {
        "a model's code is refused": True,
        "the policy has the configuration of the package": True,
        "there is one base class": True,
        "datasets is real": True,
        "deferred": [],
    }
    assert set(process[0]["types"]) >= {"act", "diffusion", "pi0", "smolvla", "tdmpc", "vqbet"}


def test_if_lerobot_uses_what_is_deferred_all_of_it_is_imported_and_that_is_said(checkpoints):
    found, warned = own_process(checkpoints, "act", how=["broken"])

    described_here = {**described(checkpoints["act"]), "slow": found["checkpoints"]["act"]["slow"]}
    assert found["checkpoints"]["act"] == described_here
    assert "transformers" in described_here["slow"]
    assert "lerobot cannot be imported for a policy of type 'act' alone (transformers.AutoModel is used" in warned
    assert found["whole"]["deferred"] == []


def test_a_users_process_imports_lerobot_as_it_is(checkpoints, monkeypatch):
    """This process is a user's; and once lerobot has been imported wholly, no process has anything to defer."""
    described(checkpoints["act"])
    assert "transformers" in slow_modules()

    monkeypatch.setattr(imports, "is_own_process", lambda: True)
    monkeypatch.setattr(imports, "_deferring", None)
    imports.import_for(load({"path": str(checkpoints["act"])}).checkpoint)
    assert "smolvla" in known_types()
