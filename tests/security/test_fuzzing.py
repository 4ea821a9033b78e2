"""Whatever a file holds, a command ends with a result or a sentence."""

from __future__ import annotations

import random
import shutil
import warnings
from contextlib import suppress
from pathlib import Path

import pytest
from fuzzing import mutated_bytes, mutated_journal, mutated_json

from proctor.cli import main
from proctor.config.strict_yaml import load_yaml
from proctor.errors import Note, ProctorError
from proctor.evaluation.components import load_policy

ROOT = Path(__file__).parents[2]
RUN = ROOT / "tests" / "data" / "run_v2"
CHECKPOINT = ROOT / "examples" / "metaworld_act"
MUTATIONS = {"run.json": mutated_json, "eval_info.json": mutated_json, "journal.jsonl": mutated_journal}
KNOWN_STATUS = {0, 1, 2, 3, 4, 5}


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("name", list(MUTATIONS))
def test_a_run_of_odd_files_is_shown_or_refused(tmp_path, capsys, name, seed):
    """By every command that reads a run; what is not an error of Proctor's would be raised here."""
    generator = random.Random(f"{name} {seed}")
    run, other = tmp_path / "run", tmp_path / "other"
    for copy in (run, other):
        shutil.copytree(RUN, copy)
    mutate = mutated_bytes if seed % 5 == 0 else MUTATIONS[name]
    (run / name).write_bytes(mutate((RUN / name).read_bytes(), generator))
    given = str(run / name) if name == "eval_info.json" else str(run)
    commands = [["show", given], ["compare", given, str(other), "--anyway"]]
    if name != "eval_info.json":
        commands += [["show", given, "--json"], ["profile", given], ["merge", given, f"--output_dir={tmp_path}/merged"]]
        commands += [["export", given, f"--output={tmp_path}/e.{form}"] for form in ("csv", "parquet")]
    if seed % 4 == 0:
        commands += [["report", given, str(other), f"--output={tmp_path}/r.html"]]

    for command in commands:
        assert main(command) in KNOWN_STATUS, command
    shown = capsys.readouterr()
    assert "Traceback" not in shown.out + shown.err
    assert "\x1b[31m" not in shown.out


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A copy of the bundled checkpoint whose weights are its own file's."""
    copy = tmp_path_factory.mktemp("fuzzed") / "checkpoint"
    shutil.copytree(CHECKPOINT, copy)
    return copy


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize(
    "name", ["config.json", "policy_preprocessor.json", "policy_postprocessor.json", "model.safetensors"]
)
def test_a_checkpoint_of_odd_files_is_planned_or_refused(checkpoint, name, seed):
    """Before any weight is loaded."""
    generator, path = random.Random(f"{name} {seed}"), checkpoint / name
    good = path.read_bytes()
    try:
        if name == "model.safetensors":
            size = 8 + int.from_bytes(good[:8], "little")
            path.write_bytes(mutated_bytes(good[:size], generator) + good[size:])
        else:
            path.write_bytes((mutated_bytes if seed % 5 == 0 else mutated_json)(good, generator))
        with warnings.catch_warnings(), suppress(ProctorError):
            warnings.simplefilter("ignore", Note)
            load_policy({"path": str(checkpoint)})
    finally:
        path.write_bytes(good)


@pytest.mark.parametrize("seed", range(100))
def test_an_odd_configuration_is_read_or_refused(seed):
    """A ValueError becomes a sentence where the file is read."""
    text = b"env:\n  type: pusht\n  kwargs: {a: [1, 2.5, yes, null], 'b': \"x\"}\neval:\n  n_episodes: 10\n"
    changed = mutated_bytes(text, random.Random(seed)).decode("utf-8", "replace")
    with suppress(ValueError):
        load_yaml(changed)
