"""JSON and safetensors files, read and checked without importing torch, lerobot or safetensors."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from proctor.errors import CheckpointError
from proctor.machine.files import open_to_read
from proctor.types import Array

_DTYPES = {
    **{f"F{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
    **{f"{kind}{bits}": f"<{kind.lower()}{bits // 8}" for kind in "IU" for bits in (8, 16, 32, 64)},
    "BOOL": "?",
    "BF16": "<u2",
}


def read_json(file: Path) -> Any:
    """Read the content of a JSON file.

    Raises:
        CheckpointError: the file cannot be read, or is not JSON.
    """
    try:
        return json.loads(file.read_bytes())
    except ValueError as error:
        raise CheckpointError(f"{file} is not valid JSON ({error}); download or copy it again.") from None
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror or error}.") from None


def is_shape(value: Any) -> TypeGuard[list[int]]:
    """Say whether a value of a JSON file is the shape of an array: a list of whole numbers in 0 to 2**31 - 1."""
    return isinstance(value, list) and all(type(size) is int and 0 <= size < 2**31 for size in value)


def read_safetensors_header(file: Path) -> dict[str, Any]:
    """Read the tensors' names, types and places, and check them against the size of the file.

    Format: eight bytes, little-endian, the length of the JSON that follows; then the tensors, at the offsets it names.

    Raises:
        CheckpointError: the file cannot be read, or is not a whole safetensors file.
    """
    return _read_header(file)[0]


def read_tensors(file: Path, names: Iterable[str] | None = None) -> dict[str, Array]:
    """Read tensors of a safetensors file (all if ``names`` is None) by name, each of its own shape and dtype.

    A bfloat16 tensor becomes float32.

    Raises:
        CheckpointError: the file is not a whole safetensors file, or a tensor has a dtype that numpy cannot hold.
    """
    header, start = _read_header(file)
    with file.open("rb") as stream:
        return {name: _read_tensor(file, stream, header[name], start) for name in (header if names is None else names)}


def _read_tensor(file: Path, stream: Any, tensor: dict[str, Any], start: int) -> Array:
    begin, end = tensor["data_offsets"]
    try:
        stream.seek(start + begin)
        array: Array = np.frombuffer(stream.read(end - begin), _DTYPES[tensor["dtype"]]).reshape(tensor["shape"])
    except (KeyError, TypeError, ValueError, OSError):
        raise CheckpointError(
            f"{file} holds a tensor that cannot be read ({tensor.get('dtype')} {tensor.get('shape')}); download or "
            "copy the file again."
        ) from None
    return (array.astype("<u4") << 16).view("<f4") if tensor["dtype"] == "BF16" else array


def _read_header(file: Path) -> tuple[dict[str, Any], int]:
    """Read the header, and the offset of the first tensor."""
    try:
        with open_to_read(file) as stream:
            size = os.fstat(stream.fileno()).st_size
            prefix = stream.read(8)
            header_size = int.from_bytes(prefix, "little")
            text = stream.read(header_size) if header_size <= size else b""
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror or error}.") from None
    if prefix == b"version ":
        raise CheckpointError(f"{file} is a Git LFS pointer, not the weights; fetch them with: git lfs pull")
    start = 8 + header_size
    try:
        header: dict[str, Any] = json.loads(text)
        header.pop("__metadata__", None)
        end = start + _end_of(header.values())
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise CheckpointError(f"{file} is not a whole safetensors file; download or copy it again.") from None
    if end != size:
        raise CheckpointError(f"{file} has {size} bytes where its header announces {end}; download or copy it again.")
    return header, start


def _end_of(tensors: Iterable[Mapping[str, Any]]) -> int:
    """Give the end of the last tensor. Each must begin at the end of the one before, as in the safetensors library."""
    end = 0
    for first, last in sorted(tensor["data_offsets"] for tensor in tensors):
        if type(first) is not int or type(last) is not int or first != end or last < first:
            raise ValueError(f"A tensor lies at {first} to {last}, the one before it ends at {end}.")
        end = last
    return end
