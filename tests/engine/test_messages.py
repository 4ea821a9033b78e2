"""What engine and worker say to each other survives the wire."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from proctor.child.other_python import Companions
from proctor.engine.worker.messages import (
    Act,
    Build,
    Built,
    Close,
    Finished,
    Observed,
    Placed,
    Ready,
    RequestFailed,
    Setup,
    Spent,
    Start,
    decode_reply,
    decode_request,
    encode,
)
from proctor.types import ArrayBytes, ArraySpec, EpisodeSpec, Features, Task

ACTIONS = ArrayBytes.pack(np.arange(6, dtype=np.float32).reshape(3, 2))
REQUESTS = [
    Setup(
        "module:Class",
        {"type": "fake", "faults": {"a": "b"}, "size": [1, 2]},
        None,
        Companions(["/a", ""], {"plug_in": "/b"}, {"plug-in": "1.0"}),
    ),
    Build(Task("suite", 3, "name", "pick up the »bowl«", 100)),
    Start(EpisodeSpec("suite", 3, 4, 1004, None), 100),
    Start(EpisodeSpec("suite", 3, 4, 2**40, 7), 100),
    Act(ACTIONS, (False, False, True)),
    Close(),
]
REPLIES = [
    Ready(),
    Built(
        Features({"observation.state": ArraySpec((2,), "float64")}, ArraySpec((2,), "float32")),
        replayable=True,
        drawable=True,
        cameras=("top",),
        spent=Spent(1.5),
    ),
    Observed((Placed("observation.state", "<f8", (1, 2), 64),), Spent(step=0.25, look=0.5)),
    Finished(True, -1.25, 0.5, 3, "abc", {"actions": ACTIONS, "rewards": ACTIONS}, Spent(), 7.5, 4),
    RequestFailed("act", "RuntimeError: x", "Traceback …", False, Spent()),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda message: type(message).__name__)
def test_a_request_arrives_as_it_was_sent(request_):
    """Equal, of the same class."""
    assert decode_request(encode(request_)) == request_


@pytest.mark.parametrize("reply", REPLIES, ids=lambda message: type(message).__name__)
def test_a_reply_arrives_as_it_was_sent(reply):
    """Equal, of the same class."""
    assert decode_reply(encode(reply)) == reply


def test_a_reply_is_no_request():
    """What comes out of order is refused, not misread."""
    with pytest.raises(msgspec.ValidationError):
        decode_request(encode(Ready()))


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.int16).reshape(3, 4).T,
        np.float64([[np.pi, -0.0, 5e-324]]),
        np.zeros((0, 2), np.float32),
        np.array(3.5, dtype=">f4"),
    ],
    ids=["transposed", "to the last bit", "empty", "big-endian scalar"],
)
def test_an_array_is_the_same_after_packing(array):
    """Values, shape and dtype; memory layout does not matter."""
    unpacked = ArrayBytes.pack(array).unpack()

    assert unpacked.dtype == array.dtype
    assert unpacked.shape == array.shape
    assert unpacked.tobytes() == array.tobytes()
