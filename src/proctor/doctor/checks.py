"""The checks. Each is called in a fresh process and returns a finding; a check that raises or crashes is one too.

Only the check of a library imports that library.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import resource
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from proctor.doctor.findings import Finding, Status
from proctor.errors import install_command
from proctor.machine.resources import available_memory, usable_cores
from proctor.rendering.frame import draw_test_frame

_TESTED_PYTHONS = ((3, 11), (3, 12))
_MIN_DESCRIPTORS = 1024
_MIN_MEMORY_PER_CORE = 1 << 30
_LITTLE_DISK = 2 << 30
_SHARED_BYTES = 64 << 20
_SEED = 1000
_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


# -------------------------------------------------------------------------------------------------------- the machine


def python() -> Finding:
    """The interpreter."""
    there = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] in _TESTED_PYTHONS:
        return Finding(Status.OK, there)
    tested = " and ".join(f"{major}.{minor}" for major, minor in _TESTED_PYTHONS)
    return Finding(Status.WARNING, f"{there}; Proctor is tested with {tested}", f"use Python {tested}")


def cores_and_memory() -> Finding:
    """Report the cores and the memory that this process may use, also in a container."""
    cores, memory = usable_cores(), available_memory()
    message = f"{cores} usable"
    if memory is None:
        return Finding(Status.OK, message)
    message += f", {_gigabytes(memory)} of memory available"
    if memory >= cores * _MIN_MEMORY_PER_CORE:
        return Finding(Status.OK, message)
    return Finding(Status.WARNING, message, "run fewer simulators at a time: --eval.batch_size=1")


def descriptors() -> Finding:
    """Every worker takes a few file descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= _MIN_DESCRIPTORS or soft == resource.RLIM_INFINITY:
        return Finding(Status.OK, f"{soft} may be open")
    allowed = _MIN_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, 4 * _MIN_DESCRIPTORS)
    return Finding(Status.WARNING, f"only {soft} may be open", f"ulimit -n {allowed}")


def shared_memory() -> Finding:
    """Observations travel through anonymous memory: fill some."""
    from proctor.engine.worker.arrays import anonymous_file

    descriptor = anonymous_file()
    try:
        os.ftruncate(descriptor, _SHARED_BYTES)
        for _ in range(_SHARED_BYTES >> 20):
            os.write(descriptor, bytes(1 << 20))
    finally:
        os.close(descriptor)
    return Finding(Status.OK, f"{_SHARED_BYTES >> 20} MB written")


def disk(directory: str) -> Finding:
    """Check the directory of results: write a file there, and lock it."""
    from proctor.results.lock import FileLock

    wanted = Path(directory).absolute()
    place = next(parent for parent in (wanted, *wanted.parents) if parent.is_dir())
    try:
        with tempfile.TemporaryDirectory(prefix=".proctor-doctor-", dir=place) as scratch:
            with FileLock(Path(scratch) / "lock"):
                pass
            (Path(scratch) / "file").write_bytes(bytes(1 << 20))
    except OSError as error:
        message = f"{place} does not take results: {error.strerror}"
        return Finding(Status.WARNING, message, "put them elsewhere: --output_dir=DIRECTORY")
    free = shutil.disk_usage(place).free
    message = f"{_gigabytes(free)} free in {place}"
    if free < _LITTLE_DISK:
        return Finding(Status.WARNING, message, "make room, or put results elsewhere: --output_dir=DIRECTORY")
    return Finding(Status.OK, message)


# ------------------------------------------------------------------------------------------------------------- drawing


def gl() -> Finding:
    """Draw a frame with MuJoCo, through the backend that ``MUJOCO_GL`` names."""
    if importlib.util.find_spec("mujoco") is None:
        return Finding(Status.ABSENT, "no simulator that draws with GL is installed")
    frame = draw_test_frame()
    message = f"drew a frame in {frame.seconds:.1f} s by {frame.renderer}"
    if frame.misses_the_gpu:
        remedy = "install NVIDIA's GL libraries (libnvidia-gl-…; in a container NVIDIA_DRIVER_CAPABILITIES=all)"
        return Finding(Status.WARNING, f"{message}, not by the GPU", remedy)
    return Finding(Status.OK, message)


def vulkan() -> Finding:
    """Make the renderer that ManiSkill uses, on the CPU's Vulkan driver."""
    if importlib.util.find_spec("sapien") is None:
        return Finding(Status.ABSENT, "ManiSkill is not installed, and only it draws with Vulkan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SAPIEN warns if it uses the Vulkan loader that it brings along
        import sapien
        import sapien.render
    try:
        sapien.render.RenderSystem(sapien.Device("cpu"))
    except RuntimeError as error:
        return Finding(Status.BROKEN, f"ManiSkill cannot draw on the CPU: {error}", _way_to_mesa())
    device = next(iter(sapien.render.get_device_summary().splitlines()), "").removeprefix("GPU: ")
    return Finding(Status.OK, f"ManiSkill draws on {device}")


def _way_to_mesa() -> str:
    """Say how this system gets a Vulkan driver of Mesa 24.3 or newer."""
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        system = {}
    match system.get("ID"), system.get("VERSION_ID"):
        case "debian", "12":
            return (
                "Debian 12 has Mesa 22.3, ManiSkill needs 24.3: run tools/vulkan_driver of Proctor's repository, and "
                "set VK_DRIVER_FILES to the file that it prints. Installing mesa-vulkan-drivers from "
                "bookworm-backports works too, but replaces the Mesa that MuJoCo draws with, so that images of other "
                "benchmarks change"
            )
        case "ubuntu", "20.04" | "22.04" | "24.04" as version:
            return (
                f"Ubuntu {version} may have a Mesa that is too old: ManiSkill needs 24.3; use a newer Ubuntu, Debian "
                "12 or newer, or --env.render_backend=gpu"
            )
        case _:
            return "apt-get install mesa-vulkan-drivers (Mesa 24.3 or newer), or use --env.render_backend=gpu"


def simulator(benchmark_name: str) -> Finding:
    """Build a benchmark's first task, reset it, look and step."""
    from proctor.benchmarks.base import Benchmark
    from proctor.errors import ConfigError, MissingFilesError
    from proctor.plugins import BENCHMARKS, installed, load_object, requirements_of

    point = installed(BENCHMARKS)[benchmark_name]
    benchmark_class: type[Benchmark] = load_object(point.value)
    config = benchmark_class.config_class(type=benchmark_name, task=next(iter(benchmark_class.groups), None))
    benchmark = benchmark_class(config)
    needs, cautions = requirements_of(point), " ".join(benchmark.cautions())
    if not needs.met:
        found = _unmet(needs.present, needs.missing, needs.command)
        return replace(found, message=f"{found.message}; {cautions}") if cautions and needs.present else found
    versions = ", ".join(f"{name} {version}" for name, version in needs.present.items())
    try:
        task = benchmark.tasks()[0]
    except ConfigError as error:  # it has no task of its own, or lacks a package that no extra of Proctor installs
        if benchmark_class.groups:
            return Finding(Status.ABSENT, str(error))
        return Finding(Status.OK, versions or "ready; name an environment to run one")
    began = perf_counter()
    try:
        env = benchmark.make_env(task)
    except ConfigError as error:
        if isinstance(error, MissingFilesError) or (not needs.present and _is_not_installed(error)):
            return Finding(Status.ABSENT, f"{versions}; {error}" if versions else str(error))
        raise
    seen = env.reset(_SEED, benchmark.init_state_id(task, 0), look=True) or {}
    env.step(env.action_space.sample(), look=False)
    drawn = [array for key, array in seen.items() if "image" in key]
    env.close()
    if any(image.std() == 0 for image in drawn):
        raise RuntimeError("what it draws is all of one colour")
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    sizes = ", ".join(f"{image.shape[1]}x{image.shape[0]}" for image in drawn)
    took = f"{task.name} built and drawn ({sizes}) in {perf_counter() - began:.1f} s, {megabytes} MB"
    if cautions:
        return Finding(Status.WARNING, f"{versions}; {took}; {cautions}", needs.command)
    return Finding(Status.OK, f"{versions}; {took}")


def _is_not_installed(error: BaseException | None) -> bool:
    """Return True if an error was caused, over any number of steps, by a module that does not exist."""
    return error is not None and (isinstance(error, ModuleNotFoundError) or _is_not_installed(error.__cause__))


# ------------------------------------------------------------------------------------------------------------ policies


def torch() -> Finding:
    """PyTorch and the device it computes on: multiply on each."""
    if importlib.util.find_spec("torch") is None:
        return Finding(Status.ABSENT, "not installed; policies with weights need it", install_command("lerobot"))
    import torch

    devices = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    for device in devices:
        values = torch.ones(64, 64, device=device)
        if float((values @ values).sum()) != 64**3:
            raise RuntimeError(f"{device} computes wrong numbers")
    names = [torch.cuda.get_device_name(device) if device.startswith("cuda") else device for device in devices]
    message = f"{torch.__version__} on {', '.join(names) or 'the CPU'}"
    if _NVIDIA_DRIVER.exists() and not devices:
        remedy = "install a build of torch for your driver's CUDA version"
        return Finding(Status.WARNING, f"{message}, although there is an NVIDIA driver", remedy)
    return Finding(Status.OK, message)


def lerobot() -> Finding:
    """LeRobot: a supported version, and it imports."""
    from proctor.plugins import POLICIES, installed, requirements_of

    needs = requirements_of(installed(POLICIES)["lerobot"])
    if not needs.met:
        return _unmet(needs.present, needs.missing, needs.command)
    import proctor.policies.lerobot.model  # noqa: F401 - brings in all that loading a checkpoint does

    return Finding(Status.OK, f"{needs.present['lerobot']}, as supported")


def _unmet(present: Iterable[str], missing: Iterable[str], command: str) -> Finding:
    """Part of what is needed, or another version of it, may make trouble; nothing of it is merely absent."""
    wrong = [requirement for requirement in missing if "there is" in requirement]
    status = Status.WARNING if wrong or list(present) else Status.ABSENT
    return Finding(
        status, f"not installed: {', '.join(missing)}" if not wrong else f"needs {', '.join(missing)}", command
    )


def _gigabytes(n_bytes: float) -> str:
    return f"{n_bytes / (1 << 30):.1f} GB"
