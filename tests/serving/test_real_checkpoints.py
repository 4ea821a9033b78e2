"""Real checkpoints behind `proctor serve`: their results on PushT are those of one process, to the bit."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time

import pytest

import proctor
from checkpoint_makers.checkpoints import make_act, make_diffusion, make_tdmpc, make_vqbet

ENV = {"type": "pusht", "episode_length": 24}
MAKERS = {
    "act": lambda folder: make_act(folder, chunk_size=8, n_action_steps=8),
    "act-ensemble": lambda folder: make_act(folder, n_action_steps=1, temporal_ensemble_coeff=0.01),
    "diffusion": make_diffusion,
    "vqbet": make_vqbet,
    "tdmpc": make_tdmpc,
}


class Server:
    """`proctor serve` of a checkpoint, which can be killed and started again at the same port."""

    def __init__(self, checkpoint):
        self._checkpoint, self._port = checkpoint, 0
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "proctor", "serve", f"--policy.path={self._checkpoint}"),
                *("--policy.device=cpu", f"--port={self._port}"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.url = next(found[0] for line in self.process.stdout if (found := re.search(r"ws://\S+", line)))
        self._port = int(self.url.rpartition(":")[2])

    def kill(self):
        self.process.kill()
        self.process.communicate()


def rows(result):
    keys = ("episode_index", "success", "sum_reward", "length", "final_state_hash")
    return [[episode[key] for key in keys] for episode in result.info["per_episode"]]


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.prove] * (name == "vqbet")) for name in MAKERS])
def test_a_checkpoint_gives_behind_a_server_what_it_gives_in_one_process(name, tmp_path):
    """With one connection and with eight, and with the server killed in between."""
    checkpoint = MAKERS[name](tmp_path / "checkpoint")
    here = rows(proctor.evaluate({"path": str(checkpoint), "device": "cpu"}, ENV, n_episodes=4, batch_size=2))
    server = Server(checkpoint)
    try:
        policy = {"type": "openpi", "url": server.url}
        for n_connections in (1, 8):
            result = proctor.evaluate({**policy, "connections": n_connections}, ENV, n_episodes=4, batch_size=4)
            assert rows(result) == here

        killer = threading.Thread(target=lambda: (time.sleep(0.5), server.kill(), server.start()))
        killer.start()
        result = proctor.evaluate(policy, ENV, n_episodes=4, batch_size=4)
        killer.join()
        assert rows(result) == here
    finally:
        server.kill()


def test_with_a_delay_of_inference_too(tmp_path):
    """The server then gives whole chunks, as the policy does in one process."""
    checkpoint = make_act(tmp_path / "checkpoint", chunk_size=16, n_action_steps=6)
    late = {"n_episodes": 2, "batch_size": 2, "inference_delay_steps": 4}
    here = rows(proctor.evaluate({"path": str(checkpoint), "device": "cpu"}, ENV, **late))
    server = Server(checkpoint)
    try:
        assert rows(proctor.evaluate({"type": "openpi", "url": server.url}, ENV, **late)) == here
    finally:
        server.kill()
