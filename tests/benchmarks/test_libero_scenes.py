"""A worker's second LIBERO task uses what it has of the first one; images need no more than is made for them."""

import json
import shutil

import mujoco
import numpy as np
import pytest
from benchmark_episodes import always, episode
from libero_checks import liberos, standing_simulator

from proctor.benchmarks.compiled_models import compile_model
from proctor.benchmarks.libero.benchmark import Libero, LiberoConfig
from proctor.benchmarks.libero.simulator import QuickSimulator
from proctor.benchmarks.libero.tasks import LIBERO, SUITES
from proctor.benchmarks.robosuite.lean_context import lean_context
from proctor.testing.episodes import episode_in_fresh_process

ADDRESS = "proctor.benchmarks.libero:Libero"


def after(benchmark, first, second, seed):
    """What the first task's simulator consists of, and the second's that replaces it.

    The first one has run an episode, made a large video frame, and changed what an episode may change.
    """
    one, other = (benchmark.tasks()[number] for number in (first, second))
    env = benchmark.make_env(one)
    episode(env, seed, 3, look=always, init_state_id=1)
    env.render(size=(700, 500))
    for name in ("body_pos", "site_rgba", "geom_friction", "light_castshadow"):
        getattr(env._simulator.model, name)[:] += 1
    parts = env._simulator.model, env._simulator.env.sim._render_context_offscreen
    benchmark.keep_parts(env)
    env.close()
    return parts, benchmark.make_env(other)


@pytest.mark.parametrize(("suite", "shared"), [("libero_goal", True), ("libero_object", False)])
def test_an_episode_after_another_task_equals_one_in_a_fresh_process(suite, shared):
    """In libero_goal all tasks have one scene, so the model and the GL context are the first task's; in libero_object
    they are new.
    """
    fields = {"type": "libero", "task": suite, "task_ids": [1]}
    benchmark = Libero(LiberoConfig(task=suite, task_ids=[0, 1]))
    parts, env = after(benchmark, 0, 1, 1001)
    try:
        moments = episode(env, 1003, 3, look=always, init_state_id=0)
        same = (env._simulator.model is parts[0], env._simulator.env.sim._render_context_offscreen is parts[1])
    finally:
        env.close()

    assert moments == episode_in_fresh_process(ADDRESS, json.dumps(fields), 1003, 3).moments
    assert same == (shared, shared)


def images(simulator, context, cameras):
    """What cameras of a model see in a rendering context."""
    model, data = simulator.model, simulator.data
    scene, camera, options = mujoco.MjvScene(model, maxgeom=1000), mujoco.MjvCamera(), mujoco.MjvOption()
    options.geomgroup[0] = 0  # as robosuite draws
    camera.type, place = mujoco.mjtCamera.mjCAMERA_FIXED, mujoco.MjrRect(0, 0, 128, 128)
    seen = np.zeros((len(cameras), 128, 128, 3), np.uint8)
    mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context)
    for camera.fixedcamid, image in zip(cameras, seen, strict=True):
        mujoco.mjv_updateScene(model, data, options, mujoco.MjvPerturb(), camera, mujoco.mjtCatBit.mjCAT_ALL, scene)
        mujoco.mjr_render(place, scene, context)
        mujoco.mjr_readPixels(image, None, place, context)
    context.free()
    return seen


def usual_and_lean(simulator, cameras):
    """Images with MuJoCo's own context, and with the lean one. A GL context must be current."""
    usual = mujoco.MjrContext(simulator.model, mujoco.mjtFontScale.mjFONTSCALE_150)
    return images(simulator, usual, cameras), images(simulator, lean_context(simulator.model), cameras)


def test_a_lean_context_draws_the_usual_pixels():
    """Also if a light casts shadows, of which LIBERO has none. The model stays as it was.

    Equal textures are uploaded once: those of the two bowls, of the table's legs, of the cabinet and of the stove.
    """
    with standing_simulator(QuickSimulator, liberos("libero_spatial", 0)[0]) as simulator:
        model = simulator.model
        simulator.reset(1003, None, absolute=False, look=True)
        used = simulator.env.sim._render_context_offscreen.con.texture[: model.ntex].tolist()
        before = model.tex_width.copy(), model.tex_height.copy(), model.vis.quality.shadowsize
        plain, lean = usual_and_lean(simulator, [model.camera("agentview").id])
        model.light_castshadow[:] = 1
        shadowed, lean_shadowed = usual_and_lean(simulator, [model.camera("agentview").id])
        after = model.tex_width, model.tex_height, model.vis.quality.shadowsize

    assert len(used) - len(set(used)) == 5
    assert np.array_equal(lean, plain)
    assert np.array_equal(lean_shadowed, shadowed)
    assert not np.array_equal(shadowed, plain)
    assert all(np.array_equal(*pair) for pair in zip(before, after, strict=True))


every_task = [(suite, number) for suite in LIBERO for number in range(len(SUITES[suite]))]


@pytest.mark.prove
@pytest.mark.parametrize(("suite", "task_id"), every_task)
def test_every_scene_is_kept_and_drawn_to_the_bit(suite, task_id, tmp_path, monkeypatch):
    """The kept model equals a fresh one in every byte, and a lean context's images equal the usual ones."""
    monkeypatch.setenv("PROCTOR_SCENE_CACHE", str(tmp_path / "scenes"))
    with standing_simulator(QuickSimulator, liberos(suite, task_id)[0]) as simulator:
        text = simulator.env.model.get_xml()
        simulator.reset(1003, None, absolute=False, look=True)
        usual, lean = usual_and_lean(simulator, range(simulator.model.ncam))
    models = mujoco.MjModel.from_xml_string(text), compile_model(text)
    saved = [np.zeros(mujoco.mj_sizeModel(model), np.uint8) for model in models]
    for model, into in zip(models, saved, strict=True):
        mujoco.mj_saveModel(model, None, into)

    assert np.array_equal(usual, lean)
    assert np.array_equal(*saved)
    assert len(list((tmp_path / "scenes").iterdir())) == 2
    shutil.rmtree(tmp_path / "scenes")  # else all tasks together leave 35 GB
