"""Write docs/cli.md from the commands and the configuration classes: ``make docs``.

``tests/test_docs.py`` makes the page again and compares it, so that the page agrees with the commands.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import re
import tomllib
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union

import docstring_parser
from docstring_parser import DocstringStyle

from proctor.cli.help import EXAMPLES
from proctor.config import EnvConfig
from proctor.plugins import BENCHMARKS, POLICIES, load_object
from proctor.policies.function import FunctionPolicyConfig
from proctor.policies.lerobot.policy_types import POLICY_TYPES
from proctor.policies.remote.groot import GrootConfig
from proctor.policies.remote.openpi import OpenpiConfig

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "cli.md"

HEAD = """\
<!-- Written by tools/cli_reference.py (make docs). To change this page, change the docstrings of commands and fields in
src/proctor/cli, src/proctor/config and src/proctor/benchmarks. -->

# Command line

`proctor --help` lists the commands, `proctor COMMAND --help` lists a command's options. The options `--env.` and
`--policy.` depend on the [benchmark](#benchmarks) and the [policy](#policies).

## How options are written

- `--key=value`, `--key value` and bare `key=value` mean the same. If an option is given twice, the last one counts.
- `-` and `_` mean the same in keys: `--eval.n-episodes` is `--eval.n_episodes`.
- A switch alone means true: `--eval.allow_mismatch`. `true` and `false` may be given.
- Lists and objects are JSON: `--rename_map='{"observation.image": "observation.images.top"}'`. In `--env.` and
  `--policy.` fields `null` means none.
- `--config_path=FILE` reads values from a YAML or JSON file with the same names, nested or dotted. Options on the
  command line override the file.
- Several tasks, or groups of tasks, are separated by commas: `--env.task=reach-v3,push-v3`.
- An unknown name is refused, and the message suggests the nearest one.
"""

EXIT_STATUSES = """\
## Exit status

| status | meaning |
|---|---|
| 0 | done |
| 1 | a bug, shown with its traceback; for `proctor replay`: a video could not be rendered, or the replay differs from \
the recorded episode |
| 2 | wrong usage or configuration, or a simulator that cannot be built at all |
| 3 | episodes ended in an error, and the others are measured; or the policy failed with the same error in the first \
three, and the rest was not run |
| 4 | resources: the disk is full, memory is exhausted, or too many workers died; finished episodes are saved. For \
`proctor doctor`: something that is needed does not work. Or standard output could not be written |
| 5 | journals contradict each other, or leave part of the plan unmeasured |
| 6 | `proctor check`: results are not bit-equal; `proctor compare --fail-if-worse`: a policy is worse; \
`proctor audit`: an input cannot be what the policy was trained on |
| 130, 143, 129 | interrupted by Ctrl-C, SIGTERM, or the end of its terminal; `proctor resume` continues the run |
"""


@dataclass(frozen=True)
class Option:
    """One row of a table; it has several names if the source describes several fields at once."""

    names: tuple[str, ...]
    kind: str
    defaults: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        names = ", ".join(f"`{name}`" for name in self.names)
        return f"| {names} | {self.kind} | {', '.join(dict.fromkeys(self.defaults))} | {_line(self.text)} |"


def reference() -> str:
    """Return the text of the page."""
    sections = [HEAD, *map(_command, EXAMPLES), _benchmarks(), _policies(), EXIT_STATUSES]
    return "\n".join(section.rstrip() + "\n" for section in sections)


# --------------------------------------------------------------------------------------------------------- commands


def _command(name: str) -> str:
    module = name.replace("-", "_")
    command = getattr(importlib.import_module(f"proctor.cli.{module}"), f"{module}_command")
    described = docstring_parser.parse(inspect.getdoc(command) or "")
    texts = {parameter.arg_name: parameter.description or "" for parameter in described.params}
    usage, arguments, options = ["proctor", name], list[str](), list[Option]()
    for parameter, hint in _parameters(command):
        shown, text = parameter.name.upper(), texts.get(parameter.name, "")
        required = parameter.default is parameter.empty
        if parameter.kind is parameter.VAR_POSITIONAL:
            usage.append(f"[{shown}...]")
            arguments.append(f"- `{shown}`: {_line(text)}")
        elif parameter.kind is parameter.POSITIONAL_ONLY:
            usage.append(shown if required else f"[{shown}]")
            arguments.append(f"- `{shown}`: {_line(text)}")
        elif isinstance(hint, type) and dataclasses.is_dataclass(hint):
            arguments += [f"- Options: {_line(text)}"] if text else []  # "As for another command."
            options += [] if text else _options(hint, "--")
        else:
            default = "required" if required else _default(parameter.default)
            options.append(Option((f"--{parameter.name.rstrip('_')}",), _kind(hint), (default,), text))
    parts = [f"## proctor {name}", f"`{' '.join([*usage, *(['[OPTIONS]'] if options else [])])}`"]
    parts += [_prose(described.short_description), _prose(described.long_description), "\n".join(arguments)]
    parts += [_table(options) if options else "", f"```text\n{EXAMPLES[name].rstrip()}\n```"]
    return "\n\n".join(filter(None, parts))


def _parameters(command: Callable[..., int]) -> Iterator[tuple[inspect.Parameter, Any]]:
    hints = typing.get_type_hints(command)
    for parameter in inspect.signature(command).parameters.values():
        yield parameter, hints[parameter.name]


# ------------------------------------------------------------------------------------------- benchmarks and policies


def _benchmarks() -> str:
    common = {field.name for field in dataclasses.fields(EnvConfig)}
    parts = ["## Benchmarks", "The fields of `--env.` for every benchmark:", _table(_options(EnvConfig, "--env."))]
    for name, address in _ours(BENCHMARKS).items():
        benchmark = load_object(address)
        source = f"src/{benchmark.__module__.replace('.', '/')}.py"
        parts += [f"### --env.type={name}", _prose(inspect.getdoc(inspect.getmodule(benchmark)))]
        if benchmark.groups:
            parts.append(f"Groups of tasks: {', '.join(f'`{group}`' for group in benchmark.groups)}.")
        parts.append(f"Observations, actions, rewards and success: see the class docstring in [{source}](../{source}).")
        parts.append(_table(_options(benchmark.config_class, "--env.", without=common)))
    return "\n\n".join(parts)


def _policies() -> str:
    parts = ["## Policies", "The fields of `--policy.` depend on the kind of policy."]
    for name, address in _ours(POLICIES).items():
        described = docstring_parser.parse(inspect.getdoc(load_object(address)) or "", DocstringStyle.GOOGLE)
        parts += [f"### {_POLICY_TITLES.get(name, f'--policy.type={name}')}"]
        parts += [_prose(described.short_description), _prose(described.long_description)]
        if name == "lerobot":
            types = (f"`{name}`" for name, family in sorted(POLICY_TYPES.items()) if family.randomness != "global")
            parts.append(
                f"Types whose episodes may share a forward pass: {', '.join(types)}. Other types run one by one."
            )
        if (config := _CONFIGS.get(name)) is not None:
            parts.append(_table(_options(config, "--policy.", without={"type"})))
    return "\n\n".join(filter(None, parts))


_CONFIGS = {"function": FunctionPolicyConfig, "openpi": OpenpiConfig, "groot": GrootConfig}
_POLICY_TITLES = {"lerobot": "--policy.path=CHECKPOINT"}


def _ours(group: str) -> Mapping[str, str]:
    """Return the plug-ins that come with Proctor, name to address; other packages have their own reference."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return dict(sorted(project["entry-points"][group].items()))


# ---------------------------------------------------------------------------------------------------------- options


def _options(config: type, prefix: str, without: Collection[str] = ()) -> list[Option]:
    """Return a configuration class as options; a field without a docstring shares that of the next field with one."""
    hints = typing.get_type_hints(config)
    texts = {
        parameter.arg_name: parameter.description
        for kind in reversed(config.__mro__)
        if dataclasses.is_dataclass(kind)
        for parameter in docstring_parser.parse_from_object(kind).params
    }
    options: list[Option] = []
    pending: list[dataclasses.Field[Any]] = []
    for field in dataclasses.fields(config):
        hint = hints[field.name]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            options += _options(hint, f"{prefix}{field.name}.")
        elif hint == dict[str, Any] and prefix == "--":  # its fields depend on a type and are listed further down
            options.append(Option((f"--{field.name}.<field>",), "", ("",), texts[field.name] or ""))
        elif field.name not in without:
            pending.append(field)
            if text := texts.get(field.name):
                names = tuple(f"{prefix}{described.name}" for described in pending)
                options.append(Option(names, _kind(hint), tuple(map(_default_of, pending)), text))
                pending = []
    if pending:
        raise ValueError(f"{config.__name__}.{pending[0].name} has no docstring.")
    return options


def _default_of(field: dataclasses.Field[Any]) -> str:
    if field.default_factory is not dataclasses.MISSING:
        return _default(field.default_factory())
    return "required" if field.default is dataclasses.MISSING else _default(field.default)


def _default(value: Any) -> str:
    """Return a default as it is written on the command line, or in words if there is none."""
    return "not set" if value in (None, {}) else f"`{value if isinstance(value, str) else json.dumps(value)}`"


_KINDS = {bool: "true or false", int: "integer", float: "number", str: "text"}


def _kind(hint: Any) -> str:
    if typing.get_origin(hint) in (Union, UnionType):
        return _kind(next(kind for kind in typing.get_args(hint) if kind is not type(None)))
    return _KINDS.get(hint, "JSON")


# ------------------------------------------------------------------------------------------------------------- text


def _table(options: Iterable[Option]) -> str:
    return "\n".join(["| option | value | default | meaning |", "|---|---|---|---|", *map(str, options)])


def _prose(text: str | None) -> str:
    """Convert a docstring to Markdown: roles and double backticks become code."""
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text or "")
    return text.replace("``", "`").strip()


def _line(text: str) -> str:
    """Return a text on one line, for a table's cell."""
    return " ".join(_prose(text).split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(reference())
