"""What simulators draw with."""

from __future__ import annotations

import os

import pytest

from proctor.benchmarks.gymnasium import Gymnasium, GymnasiumConfig
from proctor.config import structure
from proctor.errors import ConfigError
from proctor.rendering import choice, choose_renderer

SET = ("MUJOCO_GL", "PYOPENGL_PLATFORM", "MUJOCO_EGL_DEVICE_ID")


class Painter(Gymnasium):
    """Draws with GL, as far as anybody knows."""

    draws_with_gl = True


@pytest.fixture
def machine(monkeypatch):
    """A Linux machine on which nothing is set; what draws there, and what was tried."""

    class Machine:
        def __init__(self):
            self.able = ("egl", "osmesa")
            self.tried = []

        def draws(self, settings, python):
            self.tried.append(dict(settings))
            return dict(settings).get("MUJOCO_EGL_DEVICE_ID", "0") == "0" and settings[0][1] in self.able

    machine = Machine()
    monkeypatch.setattr(choice.sys, "platform", "linux")
    monkeypatch.setattr(choice, "_draws", machine.draws)
    for name in (*SET, "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
        monkeypatch.delenv(name)
    return machine


def chosen(render_device="auto", policy_device=None, benchmark=Painter):
    choose_renderer(benchmark(GymnasiumConfig(render_device=render_device)), policy_device)
    return [os.environ.get(name) for name in SET]


def test_egl_is_chosen_where_it_draws(machine):
    """Tried once: afterwards the environment says it."""
    assert chosen() == ["egl", "egl", None]
    assert chosen() == ["egl", "egl", None]
    assert machine.tried == [{"MUJOCO_GL": "egl", "PYOPENGL_PLATFORM": "egl"}]


@pytest.mark.parametrize(("able", "backend"), [(("osmesa",), "osmesa"), ((), "egl")])
def test_where_egl_does_not_draw_osmesa_is_tried(machine, able, backend):
    """If neither draws, EGL is left to say why."""
    machine.able = able

    assert chosen() == [backend, backend, None]
    assert len(machine.tried) == 2


@pytest.mark.parametrize("asked", ["egl", "osmesa"])
def test_what_is_asked_for_is_taken(machine, monkeypatch, asked):
    """At its word, and before what the environment says."""
    monkeypatch.setenv("MUJOCO_GL", "glfw")

    assert chosen(asked) == [asked, asked, None]
    assert not machine.tried


def test_what_the_environment_says_is_kept(machine, monkeypatch):
    """Also what PyOpenGL has no name for."""
    monkeypatch.setenv("MUJOCO_GL", "glfw")

    assert chosen(policy_device="cuda:1") == ["glfw", None, None]
    assert not machine.tried


class Drawn(Painter):
    """Draws with MuJoCo's GL and nothing else."""

    needs_gl = True


@pytest.mark.parametrize(
    ("variables", "fields", "words"),
    [
        ({"MUJOCO_GL": "glfw"}, {}, "with MUJOCO_GL=glfw: leave it out"),
        ({"MUJOCO_GL": "ELG"}, {}, "with MUJOCO_GL=elg: leave it out"),
        ({"MUJOCO_GL": "off"}, {}, "with MUJOCO_GL=off: leave it out"),
        ({"MUJOCO_GL": "egl", "MUJOCO_EGL_DEVICE_ID": "7"}, {}, "with MUJOCO_EGL_DEVICE_ID=7: leave it out, or name"),
        ({"MUJOCO_GL": "glfw", "MUJOCO_EGL_DEVICE_ID": "7"}, {}, "with MUJOCO_GL=glfw: leave it out"),
        ({"MUJOCO_EGL_DEVICE_ID": "7"}, {}, "with MUJOCO_EGL_DEVICE_ID=7: leave it out, or name"),
        ({}, {"render_device": "osmesa"}, "with env.render_device=osmesa: leave it out"),
    ],
)
def test_what_cannot_draw_is_refused_before_a_worker_starts(machine, monkeypatch, variables, fields, words):
    """By the name of the setting; nothing of the environment is changed."""
    machine.able = ("egl",)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ConfigError, match=f"cannot draw here {words}"):
        chosen(benchmark=Drawn, **fields)
    assert {name: os.environ[name] for name in SET if name in os.environ} == variables


def test_where_nothing_is_drawn_any_setting_will_do(machine, monkeypatch):
    """For an expert without videos, or a benchmark that may draw in other ways."""
    machine.able = ()
    monkeypatch.setenv("MUJOCO_GL", "glfw")

    choose_renderer(Drawn(GymnasiumConfig()), draws=False)
    assert chosen() == ["glfw", None, None]


@pytest.mark.parametrize("written", ["EGL", " egl "])
def test_the_variable_is_read_as_mujoco_reads_it(machine, monkeypatch, written):
    """Other libraries want it in small letters."""
    monkeypatch.setenv("MUJOCO_GL", written)

    assert chosen(benchmark=Drawn) == ["egl", "egl", None]


def test_a_benchmark_that_does_not_draw_with_gl_waits_for_nothing(machine):
    """EGL is named all the same: a video may need it."""

    class Flat(Painter):
        draws_with_gl = False

    assert chosen(benchmark=Flat, policy_device="cuda:0") == ["egl", "egl", None]
    assert not machine.tried


@pytest.mark.parametrize(
    ("policy_device", "visible", "device"),
    [
        ("cuda", None, "0"),
        ("cuda:3", None, "3"),
        ("cuda:1", "4,2", "2"),
        ("cuda:2,cuda:3", "", "2"),
        ("cuda:2", "4,2", None),
        ("cuda:0", "GPU-8932f937", None),
        ("cpu", None, None),
        ("mps", None, None),
        (None, None, None),
    ],
)
def test_egls_device_is_the_policys(policy_device, visible, device):
    """By the number that it has on the machine."""
    assert choice._egl_device(policy_device, visible) == device


def test_egl_draws_on_the_policys_gpu_if_it_can(machine, monkeypatch):
    """And elsewhere if it cannot; what the user says of the device is kept."""
    assert chosen(policy_device="cuda:0") == ["egl", "egl", "0"]

    monkeypatch.delenv("MUJOCO_EGL_DEVICE_ID")
    assert chosen("egl", policy_device="cuda:1") == ["egl", "egl", None]

    monkeypatch.setenv("MUJOCO_EGL_DEVICE_ID", "7")
    assert chosen(policy_device="cuda:0") == ["egl", "egl", "7"]


def test_a_frame_is_really_drawn():
    """In a process of its own; a backend that is none does not draw."""
    pytest.importorskip("mujoco")

    assert choice._draws((("MUJOCO_GL", "egl"), ("PYOPENGL_PLATFORM", "egl")), None)
    assert not choice._draws((("MUJOCO_GL", "egl"), ("PYOPENGL_PLATFORM", "egl"), ("MUJOCO_EGL_DEVICE_ID", "99")), None)


def test_another_device_is_a_mistake():
    """Said before anything starts."""
    with pytest.raises(ConfigError, match=r"env.render_device is 'cuda'; it must be one of auto, egl, osmesa"):
        structure(GymnasiumConfig, {"render_device": "cuda"}, "env")
