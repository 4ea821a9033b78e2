"""A policy server in a process of its own, which follows the wire of openpi, of vLLM-Omni or of GR00T to the letter.

``python stand_in.py openpi --port=0`` prints the port that it listens on. It steers as ``FakePolicy`` does, so that
what comes back can be compared with a policy in this process. Its codec is a second one, written for the tests.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import sys
import time
import traceback
from pathlib import Path

import msgpack
import numpy as np

FAULTS = ["raise", "nan", "narrow", "text", "garbage", "object", "mute", "huge", "close", "abort"]
FAULTS += ["list", "other", "alone", "untimed", "boastful", "speechless", "twice"]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["openpi", "vllm", "groot", "groot15"])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds of each request, one after the other")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--actions", type=int, help="the size of an action; the state's if not given")
    parser.add_argument("--name", default="one", help="in the metadata")
    parser.add_argument("--fault", choices=FAULTS)
    parser.add_argument("--at", type=int, default=0, help="the first request with the fault")
    parser.add_argument("--times", type=int, default=1_000_000)
    parser.add_argument("--record", type=Path, help="a folder for the requests, each as it came")
    parser.add_argument("--key", help="the key that is asked for")
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--nested", action="store_true")
    parser.add_argument("--idle", type=float, help="seconds until a connection without a request is closed")
    return parser.parse_args(arguments)


# ------------------------------------------------------------------------------------------------------------ codecs


def pack_openpi(value):
    def default(array):
        if isinstance(array, np.ndarray):
            return {
                b"__ndarray__": True,
                b"data": array.tobytes(),
                b"dtype": array.dtype.str,
                b"shape": array.shape,
            }
        return {b"__npgeneric__": True, b"data": array.item(), b"dtype": array.dtype.str}

    return msgpack.packb(value, default=default)


def unpack_openpi(message):
    def hook(found):
        if b"__ndarray__" in found:
            return np.ndarray(buffer=found[b"data"], dtype=np.dtype(found[b"dtype"]), shape=found[b"shape"])
        return found

    return msgpack.unpackb(message, object_hook=hook)


def pack_groot(value):
    def default(array):
        file = io.BytesIO()
        np.save(file, array, allow_pickle=False)
        return {"__ndarray_class__": True, "as_npy": file.getvalue()}

    return msgpack.packb(value, default=default)


def unpack_groot(message):
    def hook(found):
        return np.load(io.BytesIO(found["as_npy"]), allow_pickle=False) if "__ndarray_class__" in found else found

    return msgpack.unpackb(message, object_hook=hook)


# ---------------------------------------------------------------------------------------------------------- the policy


def steer(state, prompt, n_steps, seed=None):
    """As ``proctor.testing.fakes.FakePolicy`` does; with a seed, some noise of its own."""
    goal = int(str(prompt).rsplit(maxsplit=1)[-1]) if str(prompt)[-1:].isdigit() else 0
    chunk = np.tile(np.clip(goal - np.asarray(state, np.float64), -1, 1), (n_steps, 1))
    if seed is not None:
        chunk = chunk + 0.1 * np.random.default_rng(seed).normal(size=chunk.shape)
    return chunk.astype(np.float32)


class Server:
    """What all kinds share: the count of requests, records, faults."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.n_requests = 0

    def fault(self, message: bytes) -> str | None:
        """The fault of this request."""
        n, self.n_requests = self.n_requests, self.n_requests + 1
        if self.options.record is not None:
            (self.options.record / f"{n:06}").write_bytes(message)
        if self.options.latency:
            time.sleep(self.options.latency)
        at = self.options.at
        return self.options.fault if self.options.fault and at <= n < at + self.options.times else None

    def actions(self, chunk, fault):
        if fault == "raise":
            raise RuntimeError("the network is out of order")
        if fault == "nan":
            chunk[0, 0] = np.nan
        return chunk[:, :1] if fault == "narrow" else chunk


class Openpi(Server):
    """``openpi/serving/websocket_policy_server.py``: one request at a time, on the event loop."""

    def metadata(self):
        return {"policy": self.options.name, "reset_pose": np.zeros(7)}

    async def serve(self):
        import ssl

        from websockets.asyncio.server import serve

        context = None
        if self.options.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.options.certificate)
        async with serve(
            self.handle,
            "127.0.0.1",
            self.options.port,
            compression=None,
            max_size=None,
            ssl=context,
            process_request=self.process_request,
            ping_interval=None,
        ) as server:
            print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201
            await server.serve_forever()

    def process_request(self, connection, request):
        if request.path == "/healthz":
            return connection.respond(200, "OK\n")
        if self.options.key and request.headers.get("Authorization") != f"Api-Key {self.options.key}":
            return connection.respond(401, "no\n")
        return None

    async def handle(self, connection):
        from websockets.exceptions import ConnectionClosed

        if self.options.fault == "speechless":
            (self.options.record / "connected").touch()
            await connection.wait_closed()
        await connection.send(pack_openpi(self.metadata()))
        session = {}
        while True:
            try:
                message = await asyncio.wait_for(connection.recv(), self.options.idle)
                await self.answer(connection, message, session)
            except TimeoutError:
                await connection.close()
                return
            except ConnectionClosed:
                return
            except Exception:  # noqa: BLE001
                await self.failed(connection)
                return

    async def failed(self, connection):
        await connection.send(traceback.format_exc())
        await connection.close(1011, "Internal server error.")

    async def answer(self, connection, message, session):
        began = time.monotonic()
        fault = self.fault(message)
        if fault in ("mute", "huge", "garbage", "text", "close", "abort", "object"):
            await self.misbehave(connection, fault)
            return
        chunk = self.infer(unpack_openpi(message), session)
        seconds = time.monotonic() - began
        reply = {"actions": self.actions(chunk, fault), "server_timing": {"infer_ms": 1000 * seconds}}
        if fault == "untimed":
            del reply["server_timing"]
        if fault == "boastful":
            reply["server_timing"] = {"infer_ms": 1e9}
        if fault == "other":
            reply = {"acts": reply["actions"]}
        await connection.send(pack_openpi([1, 2] if fault == "list" else reply))
        if fault == "twice":
            await connection.send(pack_openpi(reply))

    async def misbehave(self, connection, fault):
        if fault == "mute":
            return
        if fault == "abort":
            connection.transport.abort()
            return
        if fault == "close":
            await connection.close()
            return
        objects = {b"__ndarray__": True, b"data": b"\0" * 8, b"dtype": "|O", b"shape": [1]}
        message = {"huge": b"\0" * (65 << 20), "garbage": b"\xc1\xff\x00", "text": "no idea"}.get(fault)
        await connection.send(message if message is not None else msgpack.packb({"actions": objects}))

    def infer(self, observation, session):
        state = observation.get("state", observation.get("observation/state"))
        return steer(state[: self.options.actions], observation.get("prompt", ""), self.options.steps)


class Vllm(Openpi):
    """``vllm_omni/entrypoints/openpi/connection.py``: sessions, seeds, bare arrays, errors as maps."""

    def metadata(self):
        return {"needs_session_id": True, "policy": self.options.name, "action_space": "joint"}

    async def failed(self, connection):
        await connection.send(pack_openpi({"type": "error", "message": "Internal inference error"}))
        await connection.close()

    async def answer(self, connection, message, session):
        request = unpack_openpi(message)
        fault = self.fault(message)
        if fault == "mute":
            return
        if request.pop("endpoint", "infer") == "reset":
            session.clear()
            await connection.send(pack_openpi({"status": "reset successful"}))
            return
        if session.get("id") != request["session_id"]:
            session.update(id=request["session_id"], calls=0)
        session["calls"] += 1
        chunk = self.infer(request, session)
        chunk = self.actions(chunk, fault)
        await connection.send(pack_openpi({"action.both": chunk} if self.options.nested else chunk))

    def infer(self, observation, session):
        return steer(observation["state"], observation["prompt"], self.options.steps, observation.get("seed"))


class Groot(Server):
    """``gr00t/policy/server_client.py``, and of N1.5 ``gr00t/eval/service.py``."""

    def serve(self):
        import zmq

        socket = zmq.Context().socket(zmq.REP)
        socket.bind(f"tcp://127.0.0.1:{self.options.port or '*'}")
        print(socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2], flush=True)  # noqa: T201
        while True:
            message = socket.recv()
            try:
                reply = self.answer(message)
            except Exception as error:  # noqa: BLE001
                reply = pack_groot({"error": str(error)})
            socket.send(reply)

    def answer(self, message):
        request = unpack_groot(message)
        if self.options.key and request.get("api_token") != self.options.key:
            return pack_groot({"error": "Unauthorized: Invalid API token"})
        if request["endpoint"] == "ping":
            return pack_groot({"status": "ok", "message": "Server is running"})
        if request["endpoint"] == "get_modality_config":
            return pack_groot({"state": {"__ModalityConfig_class__": True, "as_json": {"keys": [self.options.name]}}})
        fault = self.fault(message)
        if fault == "mute":
            time.sleep(3600)
        old = self.options.kind == "groot15"
        data = request["data"] if old else request["data"]["observation"]
        assert old or set(request["data"]) == {"observation", "options"}
        chunks = np.stack([self.actions(chunk, fault) for chunk in self.chunks(data)])
        chunks = chunks[0] if fault == "alone" else chunks
        action = {"x": chunks[..., :1], "y": chunks[..., 1:]}
        if not self.options.nested:
            action = {f"action.{name}": array for name, array in action.items()}
        if fault == "garbage":
            return b"\xc1"
        return pack_groot(action if old else [action, {}])

    def chunks(self, data):
        state, video = (
            (data["state"]["s"], data["video"]["image"])
            if self.options.nested
            else (
                data["state.s"],
                data["video.image"],
            )
        )
        prompts = data["language"]["task"] if self.options.nested else data["task"]
        assert state.dtype == np.float32
        assert state.ndim == 3
        assert video.ndim == 5
        assert len(state) == len(video) == len(prompts)
        for row, prompt in zip(state, prompts, strict=True):
            sentence = prompt[0] if self.options.nested else prompt
            assert isinstance(sentence, str)
            yield steer(row[0], sentence, self.options.steps)


def main() -> None:
    options = parse()
    if options.kind.startswith("groot"):
        Groot(options).serve()
    else:
        asyncio.run({"openpi": Openpi, "vllm": Vllm}[options.kind](options).serve())


if __name__ == "__main__":
    sys.exit(main())
