"""Compiled MuJoCo models in the user's cache, so that a machine compiles a scene once and not in every worker.

::

    ~/.cache/proctor/scenes/     or PROCTOR_SCENE_CACHE; XDG_CACHE_HOME replaces ~/.cache
        KEY.json                 which model a scene's text compiles to (Entry); written last
        DIGEST.mjb               that model in MuJoCo's binary format; DIGEST is the SHA-256 of the file

``PROCTOR_SCENE_CACHE=off`` compiles every scene, and removing the folder clears it. ``KEY`` is a digest of all that the
compiler's result depends on (:func:`key_of`). A file is used only if it belongs to the user, if no other user may write
it, and if its content has the digest of its name. The content is read unless it was found right before and the file has
not changed since (:func:`_identity`). Whatever fails, the scene is compiled, and a warning says once why.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import platform
import shutil
import stat
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET  # the texts come from installed simulators

from proctor.machine.home import lasting_cache

FOLDER_VARIABLE = "PROCTOR_SCENE_CACHE"
OFF = "off"
LIMIT_BYTES = 4 << 30
"""The size of all kept models; those that were not used for longest are removed. A LIBERO scene takes 0.1 to 0.3 GB."""
_SHARE_OF_FREE_SPACE = 0.1
_CLOCK_STEP_NS = 2_000_000_000
"""No file system's clock is coarser. A file that changed within this time may change again without a trace."""
_ABANDONED_S = 3600.0
_DAY_S = 86400.0
_FORMAT = 2
_identities: dict[Path, tuple[int, ...]] = {}
"""What each file was when this process, or the one from which it was forked, saw it first."""
_REFERRING_ELEMENTS = {"include", "attach", "model", "plugin"}
"""Elements that make the compiler read files which are not named in the text itself."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The content of ``KEY.json``: its own key, and the digest and size in bytes of the model's file.

    ``read`` is the identity of that file when its content was read and found right; None if it was not yet.
    """

    key: str
    model: str
    size: int
    read: list[int] | None = None


class DamagedError(OSError):
    """A file of the cache is not what was written there."""


def compile_model(text: str) -> Any:
    """Return what ``mujoco.MjModel.from_xml_string(text)`` returns, from the cache if the scene is there.

    A scene that is not there is compiled, and kept if its key can be computed and there is room.
    """
    import mujoco

    with _reporting():
        if (folder := scene_folder()) is not None and (key := key_of(text)) is not None:
            model = _load(folder, key)
            if model is None:
                model = mujoco.MjModel.from_xml_string(text)
                if key_of(text) == key:  # no file has changed while it was read
                    with _reporting():
                        _keep(folder, key, model)
            return model
    return mujoco.MjModel.from_xml_string(text)


def scene_folder() -> Path | None:
    """Return the folder of compiled scenes, which exists then; None if they are not to be kept.

    Raises:
        OSError: the folder cannot be made, or it is not the user's alone.
    """
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen == OFF:
        return None
    surroundings = None if chosen else lasting_cache()
    if not chosen and surroundings is None:
        return None
    folder = Path(chosen).absolute() if chosen else Path(surroundings or "") / "proctor" / "scenes"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise OSError(
            f"{folder} is not a folder that only you can use; remove it, or name another by {FOLDER_VARIABLE}"
        )
    return folder


def key_of(text: str) -> str | None:
    """Return a digest of everything that compiling ``text`` depends on; None if that is not known.

    It covers the text, the versions of MuJoCo and the C library, the kind of the CPU (the C library's mathematics
    depends on it), and each file that the text names. A file is identified by its path and :func:`_identity`, because
    hashing LIBERO's files takes as long as loading the model. One that has changed since this process saw it first is
    not, because MuJoCo may still have its earlier content in memory.
    """
    import mujoco

    if (files := _named_files(text)) is None:
        return None
    identities = []
    for file in files:
        try:
            found = file.stat()
        except OSError:  # the compiler's message is better
            return None
        identity = _identity(found)
        if identity is None or _identities.setdefault(file, identity) != identity:
            return None
        identities.append((str(file), *identity))
    known = [_FORMAT, mujoco.__version__, mujoco.mj_versionString(), _machine_kind(), text, identities]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:32]


def _identity(found: os.stat_result) -> tuple[int, ...] | None:
    """Return what tells a file's content from every other content that the file has had or will have.

    The kernel sets the time of change (``ctime``) itself whenever content or attributes change, and no program can set
    it back. A file that has changed just now has no identity yet, as it may change again within a step of the clock.
    """
    if time.time_ns() - max(found.st_ctime_ns, found.st_mtime_ns) < _CLOCK_STEP_NS:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _named_files(text: str) -> list[Path] | None:
    """Return the files that the compiler reads, in the text's order; None if the text does not name all of them."""
    try:
        elements = list(ET.fromstring(text).iter())  # noqa: S314 - written by the simulator in this process
    except ET.ParseError:
        return None
    names = [value for element in elements for name, value in element.items() if name.startswith("file")]
    if any(element.tag in _REFERRING_ELEMENTS for element in elements):
        return None
    paths = [Path(name) for name in dict.fromkeys(names)]
    return paths if all(path.is_absolute() for path in paths) else None


@cache
def _machine_kind() -> str:
    """Return a digest of the C library's version and of what the CPU can do."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = [platform.processor()]
    cpu = sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
    return hashlib.sha256(repr((platform.machine(), platform.libc_ver(), cpu)).encode()).hexdigest()


# ------------------------------------------------------------------------------------------------------------- reading


def _load(folder: Path, key: str) -> Any:
    """Return the kept model of a scene; None if there is none."""
    import mujoco

    marker = folder / f"{key}.json"
    try:
        with _own_file(marker) as descriptor:
            entry = Entry(**json.loads(os.read(descriptor, 4096)))
        with _own_file(folder / f"{entry.model}.mjb") as descriptor:
            _require_content(folder, descriptor, entry, key)
            if time.time() - os.fstat(descriptor).st_mtime > _DAY_S:  # not each time, as its content is read again then
                os.utime(descriptor)  # used now: it is among the last to be removed
            # MuJoCo reads the very file that was checked: no other user can write it, and Proctor never changes a file.
            return mujoco.MjModel.from_binary_path(f"/dev/fd/{descriptor}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        _warn(f"A compiled scene in {folder} cannot be used ({error}); it is removed and compiled again.")
        marker.unlink(missing_ok=True)
        return None


def _require_content(folder: Path, descriptor: int, entry: Entry, key: str) -> None:
    """Refuse the file of a model unless its content is what the entry of this key says.

    Raises:
        DamagedError: it is not.
    """
    identity = _identity(os.fstat(descriptor))  # before the content is read, so that a change meanwhile is noticed
    if entry.key == key and identity is not None and entry.read == [*identity]:
        return
    if entry.key != key or (entry.model, entry.size) != _digest_and_size(descriptor):
        raise DamagedError(f"{entry.model}.mjb does not have the content that was written")
    if identity is not None:
        with suppress(OSError):  # then it is read again
            _write_entry(folder, replace(entry, read=[*identity]))


@contextmanager
def _own_file(path: Path) -> Iterator[int]:
    """Open a file for reading that belongs to this user and that no other user can write; no link is followed.

    Raises:
        OSError: it cannot be opened.
        DamagedError: it is another user's, or others can write it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise DamagedError(f"{path.name} is not a file that only you can write")
        yield descriptor
    finally:
        os.close(descriptor)


def _digest_and_size(descriptor: int) -> tuple[str, int]:
    size = os.fstat(descriptor).st_size
    if not size:
        return "", 0
    with mmap.mmap(descriptor, size, access=mmap.ACCESS_READ) as content:
        return hashlib.sha256(content).hexdigest(), size


# ------------------------------------------------------------------------------------------------------------- writing


def _keep(folder: Path, key: str, model: Any) -> None:
    """Write a model and its entry, each under a temporary name first, and remove what was not used for longest.

    Several processes may do this at once, even for one scene: they write the same content under the same name.

    Raises:
        OSError: it cannot be written, or there is too little room.
    """
    import mujoco

    size = mujoco.mj_sizeModel(model)
    if size > shutil.disk_usage(folder).free * _SHARE_OF_FREE_SPACE:
        raise OSError(f"it takes {size >> 20} MB, more than a tenth of the free space of the disk")
    _make_room(folder, LIMIT_BYTES - size)
    with _temporary(folder) as path:
        mujoco.mj_saveModel(model, str(path))
        with _own_file(path) as descriptor:
            digest, written = _digest_and_size(descriptor)
        if written != size:
            raise OSError(f"only {written} of {size} bytes could be written")
        path.rename(folder / f"{digest}.mjb")
    _write_entry(folder, Entry(key, digest, size))


def _write_entry(folder: Path, entry: Entry) -> None:
    with _temporary(folder) as path:
        path.write_text(json.dumps(asdict(entry)))
        path.rename(folder / f"{entry.key}.json")


@contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    """Make an empty file that only this user can use; it is removed unless it has been renamed."""
    descriptor, name = tempfile.mkstemp(prefix="new-", dir=folder)
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _make_room(folder: Path, limit: int) -> None:
    """Remove models until the rest has at most ``limit`` bytes, and what killed processes have left."""
    models = sorted(((path.stat(), path) for path in folder.glob("*.mjb")), key=lambda found: -found[0].st_mtime)
    total = 0
    for found, path in models:
        total += found.st_size
        if total > limit:
            path.unlink(missing_ok=True)
    for path in folder.glob("new-*"):
        if time.time() - path.stat().st_mtime > _ABANDONED_S:
            path.unlink(missing_ok=True)


# ----------------------------------------------------------------------------------------------------------- reporting


@contextmanager
def _reporting() -> Iterator[None]:
    """Turn an error of the file system into a warning."""
    try:
        yield
    except OSError as error:
        _warn(f"A compiled scene is not kept: {error}. Every worker compiles its scenes itself.")


@cache
def _warn(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=1)
