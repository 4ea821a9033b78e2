"""Finds how a command line may go on, for completion in a shell; the scripts of ``proctor completion`` ask here.

The words come from an application, so that they are those of the installed version, with the plug-ins, tasks and runs
that there are at this moment.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from proctor.cli.arguments import SWITCHES
from proctor.cli.fields import fields_of
from proctor.cli.help import typed_options
from proctor.errors import ProctorError
from proctor.plugins import BENCHMARKS, POLICIES, installed

if TYPE_CHECKING:
    from cyclopts import App

TAKE_RUNS = ("show", "resume", "report", "replay", "profile", "export", "record", "compare")
_SHELLS = ("bash", "zsh", "fish")
_WORD_BREAKS = "=:"
"""Where bash begins a new word, by default: it replaces only what comes after the last of these."""


def print_candidates(app: App, words: Sequence[str]) -> int:
    """Print the words that may stand in place of the last one, a line each; always successful."""
    shell, *before = words
    if shell == "bash":  # which passes the whole line
        before = _split(before[0])[1:]
    with suppress(ProctorError, OSError):
        found = candidates(app, before or [""])
        if shell == "bash":
            cut = max(before[-1].rfind(char) for char in _WORD_BREAKS) + 1
            found = [each[cut:] for each in found]
        sys.stdout.writelines(f"{each}\n" for each in found)
    return 0


def candidates(app: App, words: Sequence[str]) -> list[str]:
    """Return the words that may stand in place of the last of ``words``, which follow the program's name."""
    *before, last = words
    if not before:
        return _beginning(last, [name for name in app if not name.startswith("-")])
    command = before[0]
    key, equals, value = last.partition("=")
    if equals and (key.startswith("--") or "." in key):
        return [f"{key}={each}" for each in _values(key, value, before)]
    if last.startswith("-"):
        return _beginning(last, _options(app, command, before))
    if before[-1].startswith("--") and "=" not in before[-1] and before[-1].removeprefix("--") not in SWITCHES:
        return _values(before[-1], last, before)
    return _arguments(app, command, last)


def _arguments(app: App, command: str, last: str) -> list[str]:
    if command in TAKE_RUNS:
        from proctor.results.run_index import runs_here

        runs = runs_here()
        return _beginning(last, [str(run) for run in runs]) or _beginning(last, [run.name for run in runs])
    if command == "list":
        return _beginning(last, installed(BENCHMARKS))
    if command == "help":
        return _beginning(last, [name for name in app if not name.startswith("-")])
    return _beginning(last, _SHELLS) if command == "completion" else []


def _options(app: App, command: str, before: Sequence[str]) -> list[str]:
    """List the options of a command, with ``=`` if they take a value."""
    if command not in app:
        return []
    shown = [each for each in app[command].assemble_argument_collection() if each.show and each.names]
    names = [each.names[0].removeprefix("--").replace("-", "_") for each in shown if each.names[0].startswith("--")]
    types = typed_options(before)
    plain = [name for name in names if name not in ("env", "policy")]
    found = [f"--{name}" if name in SWITCHES else f"--{name}=" for name in plain]
    if "env" in names:
        found += ["--env.type=", *(f"{field.name}=" for field in fields_of("env", types.get("env", "gymnasium")))]
    if "policy" in names:
        own = fields_of("policy", types["policy"]) if "policy" in types else []
        found += ["--policy.type=", "--policy.path=", *(f"{field.name}=" for field in own)]
    return list(dict.fromkeys([*found, "--help"]))


def _values(option: str, value: str, before: Sequence[str]) -> list[str]:
    """List the values of an option that begin with ``value``; of several with commas the last one is completed."""
    name = option.removeprefix("--").replace("-", "_")
    done, comma, last = value.rpartition(",")
    known = _known_values(name, typed_options(before))
    return (
        [f"{done}{comma}{each}" for each in _beginning(last, known)] if name == "env.task" else _beginning(value, known)
    )


def _known_values(name: str, types: Mapping[str, str]) -> Iterable[str]:
    from proctor.config.eval import CHOICES

    group, _, field = name.partition(".")
    match name:
        case "env.type":
            return installed(BENCHMARKS)
        case "policy.type":
            return installed(POLICIES)
        case "env.task" if "env" in types:
            return _tasks(types["env"])
    if group == "eval" and field in CHOICES:
        return [choice for choice in CHOICES[field] if choice]
    return ["true", "false"] if name in SWITCHES else []


def _tasks(benchmark: str) -> list[str]:
    from proctor.cli.listing import group_sizes, tasks_of

    return [*group_sizes(benchmark), *dict.fromkeys(listed.task.name for listed in tasks_of(benchmark))]


def _beginning(start: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(start)]


def _split(line: str) -> list[str]:
    """Split a line into words as a shell does; the last one is "" after a blank."""
    try:
        words = shlex.split(line)
    except ValueError:  # a quotation that is not closed yet
        words = line.split()
    return [*words, ""] if line.endswith(" ") else words
