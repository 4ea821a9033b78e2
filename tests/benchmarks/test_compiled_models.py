"""Compiled scenes are kept for the next process, equal to the bit, and never trusted if anything is wrong with them."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import mujoco
import numpy as np
import pytest

from proctor.benchmarks import compiled_models
from proctor.benchmarks.compiled_models import FOLDER_VARIABLE, compile_model, key_of, scene_folder
from proctor.benchmarks.robosuite.drawing import import_robosuite

SPHERE = '<mujoco><worldbody><geom name="{}" size="0.5"/></worldbody></mujoco>'
LONG_AGO = 10**18


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty cache of its own, in which no warning was given yet; a file that a test writes has changed just now."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "scenes"))
    monkeypatch.setattr(compiled_models, "_CLOCK_STEP_NS", 30 * 10**9)
    compiled_models._warn.cache_clear()
    return tmp_path / "scenes"


@pytest.fixture(scope="module")
def robosuites():
    """The text of a scene with a robot."""
    tasks = import_robosuite("robosuite").environments.base.REGISTERED_ENVS
    simulation = tasks["Lift"](robots="Panda", has_offscreen_renderer=False, use_camera_obs=False)
    return simulation.model.get_xml()


@pytest.fixture
def compiled(monkeypatch):
    """The texts that were really compiled."""
    texts = []
    compile_text = mujoco.MjModel.from_xml_string

    class Counting:
        from_binary_path = mujoco.MjModel.from_binary_path

        @staticmethod
        def from_xml_string(text):
            texts.append(text)
            return compile_text(text)

    monkeypatch.setattr(mujoco, "MjModel", Counting)
    return texts


def content(model):
    """All that MuJoCo saves of a model."""
    saved = np.zeros(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, saved)
    return saved.tobytes()


def sphere(name="ball"):
    return SPHERE.format(name)


def models_in(folder):
    return sorted(folder.glob("*.mjb"))


def test_a_scene_is_compiled_once_and_read_equal_to_the_byte(folder, compiled):
    """Another scene has a model of its own."""
    fresh, kept, other = (content(compile_model(sphere(name))) for name in ("ball", "ball", "cube"))

    assert kept == fresh
    assert other != fresh
    assert compiled == [sphere("ball"), sphere("cube")]
    assert len(models_in(folder)) == 2


def test_robosuites_scene_is_read_equal_to_the_byte(robosuites, folder, compiled):
    """With the meshes and textures of a robot."""
    assert content(compile_model(robosuites)) == content(compile_model(robosuites))
    assert len(compiled) == len(models_in(folder)) == 1


@pytest.mark.parametrize("change", ["one byte", "shorter", "empty", "another model", "no JSON", "no fields"])
def test_a_damaged_file_is_never_read(folder, compiled, change):
    """The scene is compiled as before, a warning says so, and the next process finds a good file again."""
    fresh = content(compile_model(sphere()))
    (model,), (entry,) = models_in(folder), folder.glob("*.json")
    good = bytearray(model.read_bytes())
    match change:
        case "one byte":
            good[len(good) // 2] ^= 1
            model.write_bytes(good)
        case "shorter":
            model.write_bytes(good[:-8])
        case "empty":
            model.write_bytes(b"")
        case "another model":
            compile_model(sphere("cube"))
            (other,) = set(folder.glob("*.json")) - {entry}
            entry.write_bytes(other.read_bytes())
        case "no JSON":
            entry.write_text("{")
        case "no fields":
            entry.write_text("{}")
    compiled.clear()

    with pytest.warns(UserWarning, match="cannot be used"):
        again = content(compile_model(sphere()))
    kept = content(compile_model(sphere()))

    assert (again, kept, compiled) == (fresh, fresh, [sphere()])


@pytest.fixture
def n_read(monkeypatch):
    """Counts how often the content of a file was read."""
    reads, real = [], compiled_models._digest_and_size
    monkeypatch.setattr(compiled_models, "_digest_and_size", lambda fd: reads.append(fd) or real(fd))
    return lambda: len(reads)


def test_the_content_of_a_file_that_has_not_changed_is_read_once(folder, compiled, n_read, monkeypatch):
    """If it has changed just now it may change again without a trace, so it is read each time."""
    fresh = content(compile_model(sphere()))
    assert n_read() == 1
    for n in (2, 3):
        compile_model(sphere())
        assert n_read() == n

    monkeypatch.setattr(compiled_models, "_CLOCK_STEP_NS", 0)
    for _ in range(3):
        assert content(compile_model(sphere())) == fresh
        assert n_read() == 4
    assert compiled == [sphere()]


def test_a_change_is_noticed_although_the_file_looks_as_it_did(folder, compiled, monkeypatch):
    """Its size and its time of modification are those of the file that was read."""
    monkeypatch.setattr(compiled_models, "_CLOCK_STEP_NS", 0)
    fresh = content(compile_model(sphere()))
    compile_model(sphere())
    (model,), (entry,) = models_in(folder), folder.glob("*.json")
    assert json.loads(entry.read_text())["read"]
    before = model.stat()
    time.sleep(0.05)  # longer than a step of this file system's clock
    changed = bytearray(model.read_bytes())
    changed[len(changed) // 2] ^= 1
    with model.open("r+b") as file:
        file.write(changed)
    os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns))
    compiled.clear()

    with pytest.warns(UserWarning, match="cannot be used"):
        assert content(compile_model(sphere())) == fresh
    assert compiled == [sphere()]


def test_a_folder_in_which_nothing_can_be_written_is_read(folder, compiled, n_read, monkeypatch):
    """Each file's content each time."""
    compile_model(sphere())
    monkeypatch.setattr(compiled_models, "_CLOCK_STEP_NS", 0)

    def refuse(folder, entry):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(compiled_models, "_write_entry", refuse)
    for n in (2, 3):
        compile_model(sphere())
        assert n_read() == n
    assert compiled == [sphere()]


@pytest.mark.parametrize("wrong", ["mode", "link", "owner"])
def test_a_file_that_another_user_may_have_written_is_never_read(folder, compiled, monkeypatch, wrong):
    """Neither one that others can write, nor a link, nor one of another owner."""
    compile_model(sphere())
    (model,) = models_in(folder)
    match wrong:
        case "mode":
            model.chmod(0o666)
        case "link":
            model.rename(folder / "elsewhere")
            model.symlink_to(folder / "elsewhere")
        case "owner":
            real = os.fstat
            theirs = [*real(0)]
            theirs[4] = os.geteuid() + 1
            monkeypatch.setattr(os, "fstat", lambda fd: os.stat_result([*real(fd)][:4] + theirs[4:5] + [*real(fd)][5:]))
    compiled.clear()

    with pytest.warns(UserWarning, match="compile"):
        compile_model(sphere())

    assert compiled == [sphere()]


@pytest.mark.parametrize("mode", [0o755, 0o777])
def test_a_folder_that_others_can_enter_is_not_used(folder, compiled, mode):
    """The warning says what to do; each call compiles."""
    folder.mkdir()
    folder.chmod(mode)

    with pytest.warns(UserWarning, match="not a folder that only you can use; remove it, or name another"):
        compile_model(sphere())
    compile_model(sphere())

    assert len(compiled) == 2
    assert list(folder.iterdir()) == []


def test_the_folder_is_the_users_alone_and_can_be_switched_off(folder, compiled, monkeypatch):
    """Without a variable it lies in the user's cache."""
    compile_model(sphere())
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}

    monkeypatch.setenv(FOLDER_VARIABLE, "off")
    compile_model(sphere())
    assert compiled == [sphere()] * 2

    monkeypatch.delenv(FOLDER_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder.parent / "cache"))
    assert scene_folder() == folder.parent / "cache" / "proctor" / "scenes"


def test_a_changed_file_is_another_scene(tmp_path, monkeypatch):
    """Even if its size and its time of modification are those of before.

    A file that changed just now has no key yet. One that this process has seen otherwise has none any more: MuJoCo
    remembers what it has read by the time of modification alone.
    """
    file = tmp_path / "mesh.obj"
    text = f'<mujoco><asset><mesh name="m" file="{file}"/></asset></mujoco>'
    keys = []
    for content in ("one", "two"):
        file.write_text(content)
        os.utime(file, ns=(LONG_AGO, LONG_AGO))
        assert key_of(text) is None
        time.sleep(0.05)  # longer than a step of this file system's clock
        with monkeypatch.context() as patches:
            patches.setattr(compiled_models, "_CLOCK_STEP_NS", 0)
            keys.append(key_of(text))
            patches.setattr(compiled_models, "_identities", {})
            keys.append(key_of(text))

    first, same, none, other = keys
    assert first == same
    assert none is None
    assert other not in (None, first)


@pytest.mark.parametrize(
    "text",
    [
        '<mujoco><include file="/tmp/other.xml"/></mujoco>',
        '<mujoco><asset><mesh name="m" file="relative.obj"/></asset></mujoco>',
        '<mujoco><asset><model name="m" file="/tmp/other.xml"/></asset></mujoco>',
        '<mujoco><asset><mesh name="m" file="/nowhere/mesh.obj"/></asset></mujoco>',
        "<mujoco",
    ],
)
def test_a_text_that_does_not_name_all_files_has_no_key(folder, text):
    """The compiler's own message is the user's."""
    assert key_of(text) is None
    with pytest.raises(ValueError, match=r"(?i)error|xml"):
        compile_model(text)
    assert list(folder.glob("*")) == []


def test_a_full_disk_costs_a_warning_and_no_run(folder, compiled, monkeypatch):
    """Once, however many scenes there are."""
    monkeypatch.setattr(compiled_models, "_SHARE_OF_FREE_SPACE", 0.0)

    with pytest.warns(UserWarning, match="more than a tenth of the free space") as warned:
        models = [compile_model(sphere()) for _ in range(2)]

    assert [content(model) for model in models] == [content(models[0])] * 2
    assert len(warned) == 1
    assert len(compiled) == 2
    assert list(folder.iterdir()) == []


def test_what_was_not_used_for_longest_is_removed(folder, compiled, monkeypatch):
    """And what a killed process has left; a scene that was read counts as used."""
    size = len(content(compile_model(sphere("a"))))
    monkeypatch.setattr(compiled_models, "LIMIT_BYTES", int(2.5 * size))
    compile_model(sphere("b"))
    for age, path in enumerate(sorted(models_in(folder), key=lambda path: path.stat().st_mtime_ns)):
        os.utime(path, ns=(LONG_AGO + age, LONG_AGO + age))
    compile_model(sphere("a"))
    abandoned = folder / "new-abandoned"
    abandoned.touch()
    os.utime(abandoned, ns=(LONG_AGO, LONG_AGO))
    compile_model(sphere("c"))
    compiled.clear()
    compile_model(sphere("a"))
    compile_model(sphere("c"))
    assert compiled == []
    compile_model(sphere("b"))

    assert compiled == [sphere("b")]
    assert not abandoned.exists()
    assert len(models_in(folder)) == 2


def test_several_processes_may_compile_one_scene(folder):
    """Each gets the model, and one is kept; nothing temporary remains."""
    code = f"from proctor.benchmarks.compiled_models import compile_model; print(compile_model({sphere()!r}).ngeom)"
    with ThreadPoolExecutor(3) as threads:
        runs = [
            threads.submit(subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True, check=True)
            for _ in range(3)
        ]

    assert [(run.result().stdout.strip(), run.result().stderr) for run in runs] == [("1", "")] * 3
    (entry,) = folder.glob("*.json")
    assert [path.stem for path in models_in(folder)] == [json.loads(entry.read_text())["model"]]
    assert len(list(folder.iterdir())) == 2
