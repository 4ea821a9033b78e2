"""Messages of policy servers: msgpack that holds arrays, in the forms of openpi, of vLLM-Omni and of GR00T.

A message comes from another machine, so decoding one never unpickles and never trusts a number that the message states:

- openpi (``openpi_client.msgpack_numpy``) writes an array as a map with the keys ``__ndarray__``, ``data``, ``dtype``
  and ``shape``, and a number of numpy's as ``__npgeneric__``, ``data`` and ``dtype``. The keys are bytes; vLLM-Omni
  also reads keys that are texts, and a map with ``nd``, ``type``, ``kind``, ``shape`` and ``data``.
- GR00T (``gr00t.policy.server_client``) writes an array as a map with ``__ndarray_class__`` and ``as_npy``, the content
  of a ``.npy`` file.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np

from proctor.types import Array

LARGEST_MESSAGE = 64 << 20
"""Bytes of the largest reply that is read; vLLM-Omni accepts requests up to the same size."""
_MOST_DIMENSIONS = 8
_MOST_ITEMS = 1_000_000
"""Entries of one list or map: an array is not a list, so that a reply has a few dozens."""
_NPY = re.compile(rb"\x93NUMPY(\x01\x00(?P<length1>.{2})|\x02\x00(?P<length2>.{4}))(?P<header>\{)", re.DOTALL)
_NPY_HEADER = re.compile(
    rb"\{'descr': '(?P<dtype>[^']{1,20})', 'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>(\d{1,18}, ?)*(\d{1,18})?)\), ?\} *\n?"
)
_DTYPE = re.compile(r"[<>|=]?(\?|[biuf][1248]|[bBhHiIlLqQefd])|bool|u?int(8|16|32|64)|float(16|32|64)")


class WireError(ValueError):
    """A message cannot be encoded or decoded; the text of the error names the fault."""


def pack(value: Any) -> bytes:
    """Give ``value`` (of maps, lists, texts, numbers, arrays) as openpi's own client packs it, to the byte.

    Raises:
        WireError: an array holds something else than booleans, integers and real numbers.
    """
    return _packed(value, _openpi_array)


def pack_groot(value: Any) -> bytes:
    """Give ``value`` (of maps, lists, texts, numbers, arrays) as GR00T's own client packs it, to the byte.

    Raises:
        WireError: see :func:`pack`.
    """
    return _packed(value, _groot_array)


def _packed(value: Any, default: Callable[[Any], Any]) -> bytes:
    import msgpack

    packed: bytes = msgpack.packb(value, default=default)
    return packed


def _openpi_array(value: Any) -> Any:
    _require_numbers(value)
    if isinstance(value, np.ndarray):
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}


def _groot_array(value: Any) -> Any:
    _require_numbers(value)
    file = io.BytesIO()
    np.save(file, value, allow_pickle=False)
    return {"__ndarray_class__": True, "as_npy": file.getvalue()}


def _require_numbers(value: Any) -> None:
    if not (isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf"):
        kind = getattr(value, "dtype", type(value).__name__)
        raise WireError(f"a {kind} cannot be sent; a message holds numbers, texts and arrays of numbers")


def unpack(message: bytes) -> Any:
    """Give the value that a message holds, with its arrays as numpy's, which are read-only.

    Raises:
        WireError: the message is not msgpack, or an array in it contradicts its stated dtype or shape.
    """
    import msgpack

    try:
        return msgpack.unpackb(
            message,
            object_hook=_decoded,
            ext_hook=_refuse_extension,
            max_array_len=_MOST_ITEMS,
            max_map_len=_MOST_ITEMS,
        )
    except WireError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever msgpack raises: errors of its own, ValueError, RecursionError
        raise WireError(f"it is not msgpack: {str(error) or type(error).__name__}") from None


def _refuse_extension(code: int, _: bytes) -> Any:
    raise WireError(f"it holds a value of the extension type {code}, which no policy server sends")


def _decoded(found: dict[Any, Any]) -> Any:
    """Give the value that a map represents: an array, a number of numpy's, or the map itself."""
    if _get(found, "__ndarray__"):
        return _array(_get(found, "data"), _get(found, "dtype"), _get(found, "shape"))
    if _get(found, "__npgeneric__"):
        return _number(_get(found, "data"), _dtype(_get(found, "dtype")))
    if "__ndarray_class__" in found:
        return _from_npy(found.get("as_npy"))
    if {_get(found, name) is not None for name in ("nd", "type", "kind", "data")} == {True}:
        shape = _get(found, "shape") if _get(found, "nd") else []
        return _array(_get(found, "data"), _get(found, "type"), shape)
    return found


def _get(found: Mapping[Any, Any], name: str) -> Any:
    """Give the value under a key that is bytes in one dialect and a text in another; None if there is none."""
    return found.get(name.encode(), found.get(name))


def _dtype(name: Any) -> np.dtype[Any]:
    text = name.decode("ascii", "replace") if isinstance(name, bytes) else name
    if not (isinstance(text, str) and _DTYPE.fullmatch(text)):
        raise WireError(f"it holds an array of dtype {text!r:.40}; an array holds booleans, integers or real numbers")
    return np.dtype(text)


def _array(data: Any, dtype: Any, shape: Any) -> Array:
    kind = _dtype(dtype)
    if not isinstance(data, bytes) or not isinstance(shape, list):
        raise WireError("it holds an array without data or without a shape")
    return _shaped(data, kind, _shape(shape))


def _shape(sizes: list[Any]) -> tuple[int, ...]:
    if len(sizes) > _MOST_DIMENSIONS or not all(type(size) is int and size >= 0 for size in sizes):
        raise WireError(
            f"it holds an array of shape {sizes!r:.60}; a shape is at most {_MOST_DIMENSIONS} whole numbers"
        )
    return tuple(sizes)


def _shaped(data: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], *, fortran: bool = False) -> Array:
    if prod(shape) * dtype.itemsize != len(data):
        raise WireError(f"it holds an array {dtype}{list(shape)} with {len(data)} bytes of data")
    if not len(data):
        return np.empty(shape, dtype.newbyteorder("="))
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)


def _number(value: Any, dtype: np.dtype[Any]) -> Any:
    if isinstance(value, bytes):  # vLLM-Omni also reads the number's bytes
        return _shaped(value, dtype, ())[()]
    if not isinstance(value, bool | int | float):
        raise WireError(f"it holds {type(value).__name__} as a number of dtype {dtype}")
    try:
        return dtype.type(value)
    except OverflowError:
        raise WireError(f"it holds the number {value!r:.40}, which {dtype} cannot represent") from None


def _from_npy(content: Any) -> Array:
    """Give the array of a ``.npy`` file of version 1 or 2.

    numpy's own reader allocates the memory that the header claims before it reads the data, so the header is read here.
    """
    if not isinstance(content, bytes) or (match := _NPY.match(content)) is None:
        raise WireError("it holds an array that is not a .npy file of numbers")
    start = match.start("header")
    length = int.from_bytes(match["length1"] or match["length2"], "little")
    header = _NPY_HEADER.fullmatch(content[start : start + length])
    if header is None or start + length > len(content):
        raise WireError("it holds a .npy file whose header cannot be read")
    shape = [int(size) for size in re.findall(rb"\d+", header["shape"])]
    fortran = header["fortran"] == b"True"
    return _shaped(content[start + length :], _dtype(header["dtype"]), _shape(shape), fortran=fortran)
