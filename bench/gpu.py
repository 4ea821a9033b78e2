"""Prove Proctor on a GPU, part by part, within a few minutes: make prove-gpu.

    python bench/gpu.py [PART...] [--device cuda] [--minutes 8] [--output outputs/gpu.json]

doctor: PyTorch on the GPU, and GL through EGL. passes: a SmolVLA of real size (450 million random parameters), pass by
pass, in float32 and in bfloat16. smolvla, act: that policy and an ACT on Meta-World. libero: SmolVLA on LIBERO.
exactness: the same episodes in several ways (bench/exactness.py has the CPU's table). shards: ACT with one and with two
processes on the one GPU. memory: a batch for which the GPU has no memory. projection: 2 000 episodes of LIBERO, from
what was measured, beside the 18 minutes that are published for another evaluator, policy and success rate.

An evaluation has as many episodes as its share of the time allows. Its bound is the longer of two times: that of the
forward passes, at the price of a pass that runs alone, and that of the simulators, at the price of one on a core that
is otherwise idle, divided by the cores. A part that fails, or for which something is missing, says so, and the next
part runs. With --device cpu each part runs in a reduced size, which proves the script and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any
from unittest.mock import patch

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parent))
from cases import metaworld_act
from common import CACHE, loaded, machine

CORES = len(os.sched_getaffinity(0))
PUBLISHED_MINUTES = 18
LIBERO_LOOKS, LIBERO_STEPS = 16, 160
"""Looks and steps of one of 2 000 episodes of LIBERO, for the projection: docs/lab-book.md says what is assumed."""
LIBERO_COST = {"step": 0.0041, "look": 0.006, "reset": 0.059}
"""Seconds of a core: a step and a reset as measured on a CPU, a look as assumed on a GPU, if LIBERO is not here."""


class SkippedError(Exception):
    """A part cannot run here; the message says why."""


@dataclass
class Session:
    """What the parts share: the device, the end of the time, the parts' findings, and a folder for runs."""

    device: str
    ends: float
    folder: Path
    found: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def reduced(self) -> bool:
        """True without a GPU: each part runs in a small size."""
        return self.device == "cpu"

    def left(self, share: float) -> float:
        """The seconds that a part may take: a share of what is left."""
        return max(2.0, share * (self.ends - monotonic()))


# -------------------------------------------------------------------------------------------------------- what is run


def smolvla_directory(session: Session) -> Path:
    """Make the SmolVLA once: of real size for a GPU, a small one without."""
    from checkpoint_makers import checkpoints, vla_checkpoints

    directory = CACHE / ("smolvla_small" if session.reduced else "smolvla_real_size")
    if not (directory / "policy_postprocessor.json").exists():
        shutil.rmtree(directory, ignore_errors=True)
        make = vla_checkpoints.make_smolvla if session.reduced else vla_checkpoints.make_smolvla_of_real_size
        make(directory, checkpoints.METAWORLD, **({} if session.reduced else {"n_action_steps": 10}))
    return directory


def smolvla_fields(session: Session) -> dict[str, Any]:
    if find_spec("transformers") is None:
        raise SkippedError("transformers is not installed, around whose model SmolVLA is built")
    return {"path": str(smolvla_directory(session)), "device": session.device}


def act_fields(session: Session) -> dict[str, Any]:
    return {"path": str(metaworld_act()), "n_action_steps": 10, "device": session.device}


def metaworld(session: Session) -> dict[str, Any]:
    if find_spec("metaworld") is None:
        raise SkippedError("metaworld is not installed")
    return {"type": "metaworld", "task": "reach-v3", "episode_length": 20 if session.reduced else 100}


# -------------------------------------------------------------------------------------------------------------- parts


def doctor(session: Session) -> dict[str, Any]:
    """Make the doctor's checks of what this script needs."""
    from proctor.doctor.examination import checks_of_this_machine, examine

    wanted = ("python", "cores", "shared memory", "GL egl", "torch", "lerobot", "benchmark pusht", "benchmark meta")
    found = {}
    for check, finding in examine([c for c in checks_of_this_machine() if c.name.startswith(wanted)]):
        found[check.name] = f"{finding.status.value}: {finding.message}"
        print(f"  {check.name}: {found[check.name]}", flush=True)
    return found


def passes(session: Session) -> dict[str, Any]:
    """Time passes of SmolVLA alone, of several sizes."""
    from ideal import a_pass

    seen, found = meta_observation(), {}
    for precision in ("float32", "bfloat16"):
        how = {} if precision == "float32" else {"autocast": precision}
        policy = loaded({**smolvla_fields(session), **how}).open(1)
        found["parameters"] = sum(p.numel() for p in policy._model.parameters())  # noqa: SLF001
        for rows in (1, 2) if session.reduced else (1, 4, 16, 32):
            seconds = timed(a_pass(policy, seen, "reach", rows), session.left(0.03))
            found[f"{precision}, {rows} rows"] = {"ms": 1000 * seconds, "looks_per_s": rows / seconds}
            print(f"  {precision}, {rows} rows: {1000 * seconds:.1f} ms, {rows / seconds:.1f} looks/s", flush=True)
    return found


def smolvla(session: Session) -> dict[str, Any]:
    return evaluation(session, smolvla_fields(session), metaworld(session), session.left(0.16))


def act(session: Session) -> dict[str, Any]:
    return evaluation(session, act_fields(session), metaworld(session), session.left(0.16))


def libero(session: Session) -> dict[str, Any]:
    """Evaluate SmolVLA on one task of LIBERO; its cameras take the place of Meta-World's."""
    if find_spec("libero") is None:
        raise SkippedError("LIBERO is not installed, so its projection has its costs from a CPU (see projection)")
    from checkpoint_makers import checkpoints, vla_checkpoints

    cameras = {"observation.images.image": (256, 256), "observation.images.image2": (256, 256)}
    robot = checkpoints.Robot(cameras=cameras, state_dim=8, state=(-1.0, 1.0), action_dim=7, action=(-1.0, 1.0))
    directory = CACHE / ("smolvla_libero_small" if session.reduced else "smolvla_libero")
    make = vla_checkpoints.make_smolvla if session.reduced else vla_checkpoints.make_smolvla_of_real_size
    if not (directory / "policy_postprocessor.json").exists():
        make(directory, robot, n_action_steps=10)
    env: dict[str, Any] = {"type": "libero", "task": "libero_spatial", "task_ids": [0]}
    env |= {"episode_length": 20 if session.reduced else LIBERO_STEPS}
    return evaluation(session, {"path": str(directory), "device": session.device}, env, session.left(0.3))


def exactness(session: Session) -> dict[str, Any]:
    """Run the same episodes in several ways, and say how exact the numbers are on this device."""
    from exactness import CASES, WAYS, episodes_of

    from proctor.evaluation.determinism import compare

    ways, n_episodes = (WAYS[:2], 2) if session.reduced else ((WAYS[0], *WAYS[2:4], WAYS[5]), 4)
    found, until = {}, monotonic() + session.left(0.3)
    for name in ("diffusion", "act", "vqbet", "tdmpc", "smolvla"):
        if monotonic() > until:
            print(f"  {name}: left out, because the part's time is up", flush=True)
            continue
        case, directory = CASES[name], session.folder / f"exact-{name}"
        directory.mkdir()
        with patch("exactness.WAYS", list(ways)):
            policy = loaded({"path": str(case.make(directory / "policy")), "device": session.device})
            results = episodes_of(case, policy, n_episodes, directory)
        agreed = [compare(way, results[way.name], results[ways[0].name]) for way in ways[1:]]
        found[name] = {a.variant.name: f"{a.n_equal} of {a.n_episodes} equal to the bit: {a.level}" for a in agreed}
        print(f"  {name}: {'; '.join(f'{way}: {text}' for way, text in found[name].items())}", flush=True)
    return found


def shards(session: Session) -> dict[str, Any]:
    """Run an ACT evaluation with one and with two processes, which share the GPU."""
    found, n_episodes = {}, 4 if session.reduced else 8 * CORES
    for count in (1, 2):
        run = session.folder / f"shards-{count}"
        flags = [f"--policy.{name}={value}" for name, value in act_fields(session).items()]
        flags += [f"--env.{name}={value}" for name, value in metaworld(session).items()]
        flags += [f"--eval.batch_size={max(1, CORES // count)}", f"--eval.n_episodes={n_episodes}", "--eval.video=none"]
        devices = [] if session.reduced else ["--devices=cuda:0"]
        command = [sys.executable, "-P", "-m", "proctor", "parallel", f"--num-shards={count}", *devices, *flags]
        began = perf_counter()
        with watched(session) as gpu:
            subprocess.run(
                [*command, f"--output_dir={run}"], check=True, capture_output=True, timeout=session.left(0.8)
            )
        info = json.loads((run / "eval_info.json").read_text())["overall"]
        seconds = info["eval_s"] - info["startup_s"]
        found[str(count)] = {"episodes_per_s": n_episodes / seconds, "with_startup_s": perf_counter() - began, **gpu}
        print(f"  {count} shards: {n_episodes / seconds:.2f} episodes/s after start-up; {shown(gpu)}", flush=True)
    return found


def memory(session: Session) -> dict[str, Any]:
    """Make passes of more rows than there is memory for; without a GPU the error is raised by hand from 3 rows on."""
    import torch
    from ideal import a_pass

    rows, said = 4 if session.reduced else 64, []
    policy = loaded(act_fields(session)).open(1)
    wanted = a_pass(policy, meta_observation(), "reach", rows)
    with lacking_memory(session, policy, torch), patch("warnings.warn", lambda text, **_: said.append(str(text))):
        chunks = wanted()
    print(f"  {rows} observations gave {len(chunks)} chunks; {' '.join(said) or 'no batch was halved'}", flush=True)
    if len(chunks) != rows or not said:
        raise AssertionError("a batch that does not fit was not halved")
    return {"rows": rows, "said": said}


@contextmanager
def lacking_memory(session: Session, policy: Any, torch: Any) -> Iterator[None]:
    """Leave PyTorch little more memory than it has now."""
    if not session.reduced:
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (1 << 30)) / total)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        return
    stock = policy._predict  # noqa: SLF001

    def small(observations: Any, memories: Any) -> Any:
        if len(observations) > 2:
            raise torch.OutOfMemoryError
        return stock(observations, memories)

    with patch.object(policy, "_predict", small):
        yield


def projection(session: Session) -> dict[str, Any]:
    """Compute the minutes of 2 000 episodes of LIBERO on this machine's cores and its GPU from what was measured."""
    timed_passes = session.found.get("passes", {})
    rates = [entry["looks_per_s"] for entry in timed_passes.values() if isinstance(entry, dict)]
    if not rates:
        raise SkippedError("the part passes measured nothing")
    cost = session.found.get("libero", {}).get("cost_s") or LIBERO_COST
    where = "here" if cost is not LIBERO_COST else "on a CPU machine (a look is assumed to take 6 ms)"
    simulated = cost["reset"] + LIBERO_STEPS * cost["step"] + LIBERO_LOOKS * cost["look"]
    cores, device = 2000 * simulated / CORES / 60, 2000 * LIBERO_LOOKS / max(rates) / 60
    print(
        f"  2 000 episodes of {LIBERO_STEPS} steps and {LIBERO_LOOKS} looks: simulators {cores:.1f} min on {CORES} "
        f"cores, with costs measured {where}; passes {device:.1f} min; at least {max(cores, device):.1f} min "
        f"(published elsewhere: {PUBLISHED_MINUTES} min on one H100)"
    )
    return {"cores_min": cores, "device_min": device, "costs_measured": where, "published_min": PUBLISHED_MINUTES}


# ------------------------------------------------------------------------------------------------------- how it is run


def evaluation(session: Session, fields: Mapping[str, Any], env: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Evaluate for about so many seconds; return the rate, the share of its bound and the use of the GPU."""
    from ideal import bare_costs

    from proctor import evaluate

    policy = loaded(dict(fields)).open(1)
    cost = bare_costs(policy, env)
    looks = -(-env["episode_length"] // policy.n_action_steps)
    simulated = cost["reset"] + env["episode_length"] * cost["step"] + looks * cost["look"]
    bound = max(simulated / CORES, looks * cost["inference"] / policy.batch_size / policy.n_slots)
    n_episodes = 2 if session.reduced else max(2 * CORES, min(2000, int(seconds / bound / 2)))
    output = tempfile.mkdtemp(dir=session.folder)
    n_workers = min(n_episodes, 2 * CORES)
    with watched(session) as gpu:
        info = evaluate(policy, env, n_episodes=n_episodes, batch_size=n_workers, output_dir=output).info
    took = info["overall"]["eval_s"] - info["overall"]["startup_s"]
    found = {
        "episodes": n_episodes,
        "seconds": took,
        "episodes_per_s": n_episodes / took,
        "share_of_bound": bound * n_episodes / took,
        "bound_by": "simulators" if bound == simulated / CORES else "passes",
        "cost_s": cost,
        "n_errors": info["overall"]["n_errors"],
        **gpu,
    }
    print(
        f"  {n_episodes} episodes in {took:.1f} s: {found['episodes_per_s']:.2f} episodes/s, "
        f"{found['share_of_bound']:.0%} of the bound by {found['bound_by']}; {shown(gpu)}",
        flush=True,
    )
    return found


def meta_observation() -> dict[str, Any]:
    """Make an observation of the size of Meta-World's, without a simulator."""
    import numpy as np

    pixels = np.random.default_rng(0).integers(0, 256, (480, 480, 3), np.uint8)
    return {"observation.image": pixels, "observation.state": np.zeros(4)}


def timed(work: Callable[[], Any], seconds: float) -> float:
    """Return the median seconds of some work, after two rounds to warm up."""
    work(), work()
    taken: list[float] = []
    until = monotonic() + seconds
    while len(taken) < 3 or (monotonic() < until and len(taken) < 50):
        began = perf_counter()
        work()  # its result is on the CPU, so it has waited for the device
        taken.append(perf_counter() - began)
    return statistics.median(taken)


@contextmanager
def watched(session: Session) -> Iterator[dict[str, float]]:
    """Fill in, at the end of the block, the mean use of the GPU and its largest memory; nothing without a GPU."""
    found: dict[str, float] = {}
    command = shutil.which("nvidia-smi")
    if session.reduced or command is None:
        yield found
        return
    query = [command, "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits", "-lms", "200"]
    sampler = subprocess.Popen([*query, "-i", "0"], stdout=subprocess.PIPE, text=True)
    lines: list[str] = []
    assert sampler.stdout is not None
    reader = threading.Thread(target=lines.extend, args=(sampler.stdout,), daemon=True)
    reader.start()
    try:
        yield found
    finally:
        sampler.terminate()
        reader.join(5)
        samples = [tuple(map(float, line.split(","))) for line in lines if "[" not in line and line.count(",") == 1]
        if samples:
            found["gpu_busy"] = statistics.mean(busy for busy, _ in samples) / 100
            found["gpu_memory_mib"] = max(used for _, used in samples)


def shown(gpu: Mapping[str, float]) -> str:
    if not gpu:
        return "no GPU was watched"
    return f"GPU busy {gpu['gpu_busy']:.0%}, {gpu['gpu_memory_mib']:.0f} MiB"


PARTS = {part.__name__: part for part in (doctor, passes, smolvla, act, libero, exactness, shards, memory, projection)}


def attempt(name: str, session: Session) -> None:
    """Run a part, whatever becomes of it."""
    print(f"{name}:", flush=True)
    began = monotonic()
    try:
        if began > session.ends:
            raise SkippedError("the time of --minutes is up")  # noqa: TRY301
        found = PARTS[name](session)
    except SkippedError as reason:
        found = {"skipped": str(reason)}
        print(f"  skipped: {reason}", flush=True)
    except Exception as error:  # noqa: BLE001 - the next part has its turn
        found = {"failed": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        if isinstance(error, subprocess.CalledProcessError):
            found["stderr"] = error.stderr.decode(errors="replace")[-2000:]
        print(f"  failed: {type(error).__name__}: {error} {found.get('stderr', '')}", flush=True)
    session.found[name] = {**found, "part_s": monotonic() - began}


def missing() -> str:
    """Say in a sentence what a GPU's proof lacks here; "" if nothing."""
    if find_spec("torch") is None:
        return "PyTorch is not installed, so nothing can run on a GPU; install torch with CUDA."
    import torch

    if torch.cuda.is_available():
        return ""
    build = "a build of PyTorch with CUDA" if torch.version.cuda is None else "an NVIDIA GPU with a working driver"
    return f"This machine lacks {build}, so there is no CUDA; --device cpu runs every part in a reduced size."


def card(device: str) -> str:
    import torch

    return str(torch.cuda.get_device_name(0)) if device == "cuda" else "no GPU"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}; the default is all")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--minutes", type=float, default=8.0, help="the time of all parts together")
    parser.add_argument("--output", type=Path, default=Path("outputs/gpu.json"))
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(unknown)}; choose from {', '.join(PARTS)}")
    if options.device == "cuda" and (sentence := missing()):
        print(sentence, file=sys.stderr)
        raise SystemExit(2)
    with tempfile.TemporaryDirectory() as folder:
        session = Session(options.device, monotonic() + 60 * options.minutes, Path(folder))
        what = {"card": card(options.device), "machine": machine(), "minutes": options.minutes}
        print(f"{what['card']}; {what['machine']}", flush=True)
        for name in PARTS:
            if not options.parts or name in options.parts:
                attempt(name, session)
                options.output.parent.mkdir(parents=True, exist_ok=True)
                options.output.write_text(json.dumps({**what, "parts": session.found}, indent=2, default=str))
    failed = [name for name, found in session.found.items() if "failed" in found]
    print(f"{options.output}: {len(session.found) - len(failed)} parts are done, {len(failed)} failed")
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
