"""Build the distributions from a clean checkout, and try them in environments of their own, outside the repository.

``make dist`` writes ``dist/``; ``make dist-try`` installs the core wheel into an empty environment and runs it;
``make dist-matrix`` does that on every supported Python, also with what the demonstration needs, one environment after
another, and asks pip whether the requirements of the extra ``all`` fit together. Packages come from where pip is set up
to find them.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from time import perf_counter

from proctor.errors import install_command
from proctor.interpreters.pythons import find_python

REPOSITORY = Path(__file__).resolve().parents[1]
DIST = REPOSITORY / "dist"
PYTHONS = ("3.11", "3.12", "3.13")
EXTRAS = ("", "metaworld,lerobot,report,view,demo")
BUILD = (sys.executable, "-m", "build")
NOT_IN_A_WHEEL = re.compile(r"(^|/)(tests?|bench|tools|docs|__pycache__|checkpoint_makers|\.[^/]+)(/|$)|\.pyc$|\.orig$")
CARTPOLE = "--policy.type=random --env.type=gymnasium --env.task=CartPole-v1 --eval.n_episodes=3 --eval.video=none"


def main() -> int:
    """Run one of the three steps, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    steps.add_parser("build")
    for step in (steps.add_parser("try"), steps.add_parser("matrix")):
        step.add_argument("--python", action="append")
        step.add_argument("--extras", action="append")
    given = parser.parse_args()
    if given.step == "build":
        build()
        return 0
    matrix = given.step == "matrix"
    pythons = given.python or (PYTHONS if matrix else (f"{sys.version_info.major}.{sys.version_info.minor}",))
    extras = given.extras or (EXTRAS if matrix else ("",))
    for python in pythons:
        for wanted in extras:
            try_in_an_empty_environment(python, wanted)
        if matrix:
            resolve_everything(python)
    return 0


def build() -> None:
    """Build wheels and sdists of the last commit into ``dist``, and check what they contain."""
    with tempfile.TemporaryDirectory() as place:
        checkout, direct = Path(place, "checkout"), Path(place, "direct")
        check_out(checkout)
        shutil.rmtree(DIST, ignore_errors=True)
        for project in (checkout, checkout / "examples"):  # without further options the wheel is made of the sdist
            run(*BUILD, "--outdir", str(DIST), str(project))
        run(*BUILD, "--wheel", "--outdir", str(direct), str(checkout))
        check_contents(checkout, direct)
    for file in sorted(DIST.glob("proctor*")):
        print(f"{file.stat().st_size / 1e6:8.2f} MB  dist/{file.name}")


def check_out(place: Path) -> None:
    """Write the files of the last commit into a new folder, or those that lie here if there is no repository."""
    if not (REPOSITORY / ".git").exists():
        shutil.copytree(
            REPOSITORY, place, ignore=shutil.ignore_patterns(".*", "dist", "outputs", "site", "__pycache__")
        )
        return
    place.mkdir()
    archive = run("git", "archive", "--format=tar", "HEAD", cwd=REPOSITORY, capture=True)
    subprocess.run(["tar", "-x", "-C", place], input=archive, check=True)  # noqa: S603, S607 - fixed words


def check_contents(checkout: Path, direct: Path) -> None:
    """Compare the wheel with the sources, and with a wheel that was not made of the sdist."""
    (wheel,) = direct.glob("proctor_eval-*.whl")
    if wheel.read_bytes() != (DIST / wheel.name).read_bytes():
        sys.exit(f"The wheel of the sdist is another one than that of the checkout: {wheel.name}.")
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {path.relative_to(checkout / "src").as_posix() for path in (checkout / "src/proctor").rglob("*.*")}
    packed = {name for name in names if name.startswith("proctor/")}
    files = {name for name in sources if (checkout / "src" / name).is_file()}
    if packed != files:
        sys.exit(f"The wheel differs from src/proctor in: {', '.join(sorted(packed ^ files))}.")
    information = wheel.name.removesuffix("-py3-none-any.whl") + ".dist-info"
    needed = {"proctor/py.typed", f"{information}/licenses/LICENSE", f"{information}/entry_points.txt"}
    if missing := needed - names:
        sys.exit(f"The wheel has no {', '.join(sorted(missing))}.")
    if relative := re.findall(
        r"\]\((?!http|#)[^)]*\)", zipfile.ZipFile(wheel).read(f"{information}/METADATA").decode()
    ):
        sys.exit(f"Links of README.md that lead nowhere on the index's page: {', '.join(relative)}.")
    others = {name for name in names - packed if not name.startswith(f"{information}/")}
    with tarfile.open(DIST / f"{information.removesuffix('.dist-info')}.tar.gz") as archive:
        sdist = {name.partition("/")[2] for name in archive.getnames()}
    if surplus := {name for name in names | sdist - {".gitignore"} if NOT_IN_A_WHEEL.search(name)} | others:
        sys.exit(f"Files that nobody needs are packed: {', '.join(sorted(surplus))}.")


def try_in_an_empty_environment(python: str, extras: str) -> None:
    """Install the wheel of ``dist`` with some extras, and run the commands that a newcomer runs, in an empty folder."""
    began = perf_counter()
    what = f"Python {python}, the core" + (f" and [{extras}]" if extras else " alone")
    (wheel,) = DIST.glob("proctor_eval-*.whl")
    with tempfile.TemporaryDirectory() as place:
        environment = Path(place, "environment")
        interpreter = find_python(f"=={python}.*", needs_pip=True)
        run(str(interpreter.path), "-m", "venv", str(environment))
        wanted = f"{wheel}[{extras}]" if extras else str(wheel)
        pip = (str(environment / "bin/python"), "-m", "pip")
        run(*pip, "install", "--quiet", "--find-links", str(DIST), wanted)
        run(*pip, "check")
        say(f"{what}: installed in {perf_counter() - began:.0f} s")
        empty = Path(place, "empty")
        empty.mkdir()
        try_commands(environment / "bin" / "proctor", empty, whole="demo" in extras)
    say(f"{what}: all commands work, {perf_counter() - began:.0f} s in all")


def resolve_everything(python: str) -> None:
    """Have pip find versions of everything that the extra ``all`` asks for, without installing them."""
    (wheel,) = DIST.glob("proctor_eval-*.whl")
    interpreter = find_python(f"=={python}.*", needs_pip=True)
    run(str(interpreter.path), "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", f"{wheel}[all]")
    say(f"Python {python}: the requirements of [all] fit together")


def try_commands(proctor: Path, folder: Path, *, whole: bool) -> None:
    """Run the commands; without what the demonstration needs it has to say what to install."""
    commands = ["--version", "demo --help", "doctor", f"eval {CARTPOLE}", "show"]
    for words in [*commands, *(["demo"] if whole else [])]:
        run(str(proctor), *words.split(), cwd=folder)
    if whole:
        videos = len(list(folder.rglob("*.mp4")))
        say(f"{videos} videos")
        return
    command = [str(proctor), "demo"]
    done = subprocess.run(command, cwd=folder, env=surroundings(), stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603
    say(done.stderr.strip())
    if done.returncode != 2 or install_command("demo") not in done.stderr:
        sys.exit("`proctor demo` does not say what to install.")


def run(*words: str, cwd: Path | None = None, capture: bool = False) -> bytes | None:
    """Run a command, and end if it fails; return what it printed if that is to be captured."""
    print(f"$ {Path(words[0]).name} {' '.join(words[1:])}", flush=True)
    stdout = subprocess.PIPE if capture else None
    done = subprocess.run(words, cwd=cwd, env=surroundings(), stdout=stdout, check=False)  # noqa: S603 - fixed words
    if done.returncode:
        sys.exit(f"{Path(words[0]).name} ends with status {done.returncode}.")
    return done.stdout


def surroundings() -> dict[str, str]:
    """Return an environment in which nothing leads to this repository or to a Python environment of it."""
    ours = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME", "PROCTOR_ENVIRONMENTS")
    return {name: value for name, value in os.environ.items() if name not in ours}


def say(sentence: str) -> None:
    """Print a line of the log."""
    print(f"== {sentence}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
