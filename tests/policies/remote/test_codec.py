"""A message is data: its statements of arrays are checked, and nothing in it runs or takes more than its own size."""

from __future__ import annotations

import io
import random
from contextlib import suppress

import msgpack
import numpy as np
import pytest
from stand_in import pack_groot as packed_by_groot
from stand_in import pack_openpi as packed_by_openpi

from proctor.policies.remote.codec import WireError, pack, pack_groot, unpack

ARRAYS = [
    np.arange(6).reshape(2, 3).astype(dtype)
    for dtype in ("uint8", "int8", "int16", "uint32", "int64", "float16", "float32", "float64", ">f4", "bool")
]


@pytest.mark.parametrize("array", [*ARRAYS, np.zeros((0, 7), np.float32), np.float32(3).reshape(())], ids=str)
@pytest.mark.parametrize("to_bytes", [pack, pack_groot, packed_by_openpi, packed_by_groot])
def test_an_array_comes_back_as_it_was(array, to_bytes):
    """Whoever packed it, in native byte order."""
    (back,) = unpack(to_bytes([array]))

    assert np.array_equal(back, array)
    assert back.dtype == array.dtype.newbyteorder("=")


def test_a_groot_server_reads_what_is_packed_for_it():
    assert pack_groot({"a": ARRAYS[0], "b": ["text"]}) == packed_by_groot({"a": ARRAYS[0], "b": ["text"]})


def test_an_array_in_the_column_order_of_a_npy_file():
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))

    assert np.array_equal(unpack(packed_by_groot(array)), array)


def marker(**changes):
    return {b"__ndarray__": True, b"data": b"\0" * 8, b"dtype": "<f4", b"shape": [2]} | {
        name.encode(): value for name, value in changes.items()
    }


def test_the_markers_of_vllm_are_read():
    """Keys as texts, and those of its own."""
    texts = {name.decode(): value for name, value in marker().items()}
    own = {"nd": True, "type": "<f4", "kind": "f", "shape": [2], "data": b"\0" * 8}

    first, second, number = unpack(msgpack.packb([texts, own, {**own, "nd": False, "data": b"\0" * 4}]))

    assert first.tolist() == second.tolist() == [0.0, 0.0]
    assert number == 0.0


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": "|O"},
        {"dtype": "O"},
        {"dtype": "<f4,<f4"},
        {"dtype": "|V8"},
        {"dtype": "<c8"},
        {"dtype": "<M8[s]"},
        {"dtype": "|S8"},
        {"dtype": 7},
        {"dtype": None},
        {"dtype": "x" * 10_000},
    ],
)
def test_an_array_of_anything_but_numbers_is_refused(changes):
    """Of objects above all: decoding them would read addresses."""
    with pytest.raises(WireError, match="booleans, integers or real numbers"):
        unpack(msgpack.packb(marker(**changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [3]},
        {"shape": [1 << 40]},
        {"shape": [1 << 63, 2]},
        {"shape": [-2]},
        {"shape": [1, 1, 1, 1, 1, 1, 1, 1, 2]},
        {"shape": [2.0]},
        {"shape": [True, 2]},
        {"shape": "2"},
        {"shape": None},
        {"data": "text"},
        {"data": None},
        {"data": b""},
    ],
)
def test_an_array_whose_shape_and_data_contradict_each_other_is_refused(changes):
    with pytest.raises(WireError, match="holds an array"):
        unpack(msgpack.packb(marker(**changes)))


def npy(header: bytes, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    content = b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header + data
    return msgpack.packb({"__ndarray_class__": True, "as_npy": content})


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }\n",
        b"{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,), }\n",
        b"__import__('os').system('false')\n",
        b"{'descr': '<f8'}\n",
        b"(" * 5000,
        b"",
    ],
)
def test_a_npy_file_whose_header_lies_is_refused_before_memory_is_taken(header):
    with pytest.raises(WireError):
        unpack(npy(header, b"\0" * 8))


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"\x93NUMPY\x09\x00", b"PK\x03\x04", None, "text"])
def test_what_is_no_npy_file_is_refused(content):
    with pytest.raises(WireError, match="npy"):
        unpack(msgpack.packb({"__ndarray_class__": True, "as_npy": content}))


def test_a_pickle_is_never_read():
    """numpy would, if it were allowed to."""
    file = io.BytesIO()
    np.save(file, np.array([object], object), allow_pickle=True)

    with pytest.raises(WireError):
        unpack(msgpack.packb({"__ndarray_class__": True, "as_npy": file.getvalue()}))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xc1",
        b"\x81",
        b"\x93\x01",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\x91" * 100_000,
        b"\x01\x02",
    ],
)
def test_what_is_not_msgpack_is_refused(message):
    with pytest.raises(WireError, match="not msgpack"):
        unpack(message)


def test_an_extension_type_is_refused():
    with pytest.raises(WireError, match="extension type 5"):
        unpack(msgpack.packb(msgpack.ExtType(5, b"x")))


@pytest.mark.parametrize("value", [np.array([object]), np.array([1j]), np.array(["a"]), {1, 2}, object()])
def test_what_no_server_could_read_is_not_sent(value):
    with pytest.raises(WireError, match="cannot be sent"):
        pack({"x": value})


@pytest.mark.parametrize("seed", range(4))
def test_mutilated_messages_are_values_or_refused(seed):
    """Ten thousand messages with bytes changed, cut out or doubled: never another exception, never more memory."""
    generator = random.Random(seed)
    whole = [
        pack({"actions": np.arange(70.0).reshape(10, 7), "server_timing": {"infer_ms": np.float64(3)}}),
        pack_groot([{"action.x": np.zeros((2, 8, 1), np.float32)}, {}]),
        msgpack.packb({"nd": True, "type": "<f4", "kind": "f", "shape": [2], "data": b"\0" * 8}),
    ]
    for _ in range(2500):
        message = bytearray(generator.choice(whole))
        for _ in range(generator.randint(1, 4)):
            place = generator.randrange(len(message))
            change = generator.randrange(4)
            if change == 0:
                message[place] = generator.randrange(256)
            elif change == 1:
                del message[place : place + generator.randint(1, 8)]
            elif change == 2:
                message[place:place] = generator.randbytes(generator.randint(1, 8))
            else:
                message[place:place] = message[place : place + 16]
            if not message:
                message = bytearray(b"\0")
        with suppress(WireError):
            unpack(bytes(message))
