"""Whatever a file holds, a command ends with a result or a sentence."""

from __future__ import annotations

import os
import random
import shutil
import warnings
from contextlib import closing, suppress
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest
from fuzzing import mutated_bytes, mutated_journal, mutated_json

from proctor.child.wire import Wire
from proctor.cli import main
from proctor.config.strict_yaml import load_yaml
from proctor.engine.worker.messages import decode_reply, decode_request
from proctor.errors import Note, ProctorError
from proctor.evaluation.components import load_policy
from proctor.parallel.messages import RunEpisodes, ShardReady, decode_order, decode_reports, encode, encode_reports
from proctor.policies.remote import openpi, served, zeromq
from proctor.policies.remote.codec import WireError, pack, pack_groot, unpack
from proctor.policies.remote.extension import EXTENSION
from proctor.serving import wire

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


def messages():
    """What servers and clients send each other: arrays in both forms, a refusal, a request."""
    episode = {"suite": "fake", "task_id": 0, "episode_index": 0, "seed": 1000, "look": 0}
    refusal = {EXTENSION: {"kind": "request", "message": "no", "traceback": ""}}
    return [
        pack({"actions": np.arange(14.0).reshape(2, 7), "server_timing": {"infer_ms": np.float64(3)}}),
        pack_groot([{"action.x": np.zeros((2, 8, 1), np.float32)}, {}]),
        pack(refusal),
        pack({"type": "error", "message": "no"}),
        pack({"observation.state": np.zeros((1, 2), np.float32), "prompt": "go", "seed": 3, "session_id": "a"}),
        pack({"observation.state": np.zeros((1, 2), np.float32), "prompt": "go", EXTENSION: episode}),
    ]


READERS = {
    "openpi": openpi.decoded,
    "groot": zeromq.decoded,
    "proctor serve": served._answer,
    "metadata": openpi.metadata,
    "request": lambda message: wire.read_request(unpack(message), (0,)),
}


@pytest.mark.parametrize("reader", READERS)
def test_an_odd_message_of_a_server_or_client_is_read_or_refused(reader):
    """By each who reads it: the policy's side of every protocol, and the server."""
    generator = random.Random(reader)
    for _ in range(2000):
        message = mutated_bytes(generator.choice(messages()), generator)
        with suppress(ProctorError, WireError, wire.RequestError):
            READERS[reader](message)


@pytest.mark.parametrize("decode", [decode_reply, decode_request, decode_reports, decode_order])
def test_odd_messages_between_processes_are_read_or_refused(decode):
    """A ValueError is what those who receive them expect."""
    generator, good = random.Random(decode.__qualname__), [b"\x92\x01", encode(RunEpisodes(()))]
    good += [encode_reports(ShardReady(3)), encode_reports(ShardReady(3), ShardReady(4))]
    for _ in range(2000):
        with suppress(ValueError):
            decode(mutated_bytes(generator.choice(good), generator))


@pytest.mark.parametrize("seed", range(20))
def test_odd_bytes_on_a_wire_are_messages_or_its_end(seed):
    """Whatever sizes they state; nothing waits for them."""
    generator, (ours, theirs) = random.Random(seed), Pipe()
    receiver, content = Wire(ours), b"\0\0\0\3abc\0\0\0\0\xff\xff\xff\xff\0\0\0\0\0\0\0\1d"
    with closing(receiver):
        os.write(theirs.fileno(), mutated_bytes(content, generator))
        theirs.close()
        with suppress(EOFError, OSError):
            while True:
                assert all(len(message) < 1000 for message in receiver.receive())


@pytest.mark.parametrize("seed", range(100))
def test_an_odd_configuration_is_read_or_refused(seed):
    """A ValueError becomes a sentence where the file is read."""
    text = b"env:\n  type: pusht\n  kwargs: {a: [1, 2.5, yes, null], 'b': \"x\"}\neval:\n  n_episodes: 10\n"
    changed = mutated_bytes(text, random.Random(seed)).decode("utf-8", "replace")
    with suppress(ValueError):
        load_yaml(changed)
