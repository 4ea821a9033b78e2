"""``proctor reproduce``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from proctor.cli.ci import append_text
from proctor.cli.output import print_json
from proctor.cli.run_names import chosen_run
from proctor.errors import ConfigError, note

if TYPE_CHECKING:
    from proctor.config import RunConfig
    from proctor.results.reproduction import KnownResult

_DIFFERS = 6
_MAY_BE_GIVEN: tuple[str, ...] = ("--eval.", "--output_dir=", "--trust_remote_code", "--wandb.")
_MAY_BE_GIVEN += ("--policy.device=", "--policy.path=", "--policy.url=")
"""The beginnings of the options that say how or from where a result is measured, and not what."""

_BUNDLED = "examples/metaworld_act"
_ONLY_NOTED = ("eval.n_episodes", "policy.path", "policy.url")
"""Parts of a protocol in which a run may differ and still be compared: a copy of the checkpoint, fewer episodes."""


def reproduce_command(
    name: str | None = None,
    /,
    *options: Annotated[str, Parameter(allow_leading_hyphen=True)],
    run: Path | None = None,
    dry_run: bool = False,
    markdown: Path | None = None,
    json: bool = False,
) -> int:
    """Measure a published success rate again, and compare.

    The published value, its source, its protocol and the command are printed, the command is run, and its result is
    compared with the published one. Without NAME, the results that can be measured are listed. The same command goes
    on if it was interrupted.

    Parameters
    ----------
    name
        The name of a result.
    options
        Options of proctor eval that do not belong to the protocol: --policy.device, --policy.path of a copy of the
        checkpoint, --eval.batch_size, --output_dir, …
    run
        Compare this run with the published result, and run nothing: a run directory, or a part of its name.
    dry_run
        Print the published value, the protocol and the command, and run nothing.
    markdown
        Append the comparison to this file as rows of a table in Markdown, with the versions and the processor.
    json
        Print the comparison as JSON.
    """
    from proctor.reports.reproduction import print_known_result, print_known_results
    from proctor.results.reproduction import known_result, known_results

    console = Console(stderr=json)
    if name is None:
        print_known_results(console, known_results().values())
        return 0
    known = known_result(name)
    print_known_result(console, known)
    if dry_run:
        return 0
    if run is not None:
        return _compare(known, chosen_run(run), markdown, json=json)
    config = _config(known, options)
    from proctor.cli.eval import conduct

    status = conduct(config)
    return status or _compare(known, Path(str(config.output_dir)), markdown, json=json)


def _config(known: KnownResult, options: Sequence[str]) -> RunConfig:
    """Make the configuration of a known result; the user's options say how it is run, or where its checkpoint lies.

    Raises:
        ConfigError: an option would change the protocol.
    """
    from proctor.cli.arguments import expand
    from proctor.cli.main import app

    for option in options:
        if not option.startswith(_MAY_BE_GIVEN):
            raise ConfigError(
                f"{option} does not belong to how {known.name} is run, but to its protocol or to another command; to "
                f"measure something else, use the command above with {option}."
            )
    protocol = [_with_bundled_checkpoint(option) for option in known.options]
    words = ["eval", f"--output_dir=outputs/reproduce/{known.name}", *protocol, *options]
    _, arguments, *_ = app.parse_args(expand(words), print_error=False, exit_on_error=False)
    config: RunConfig = arguments.arguments["config"]
    return config


def _with_bundled_checkpoint(option: str) -> str:
    """Return an option with the place of the bundled checkpoint on this machine, if it names that one."""
    from proctor.cli.demo import bundled_checkpoint

    return f"--policy.path={bundled_checkpoint()}" if option == f"--policy.path={_BUNDLED}" else option


def _compare(known: KnownResult, directory: Path, markdown: Path | None, *, json: bool) -> int:
    """Compare a finished run with a known result, print that, and return the exit status.

    Raises:
        ConfigError: the run has no success rate that could be compared.
    """
    from proctor.reports.reproduction import print_reproductions, rows_in_markdown
    from proctor.results.reproduction import all_hold, compare_with
    from proctor.results.summary import load_summary, require_complete

    info, summary = load_summary(directory)
    _require_protocol(known, info.config, directory)
    require_complete(summary)
    found = compare_with(known, summary)
    if not found:
        raise ConfigError(
            f"{directory} has no success rate of {known.title}; measure it: proctor reproduce {known.name}."
        )
    _require_protocol(known, info.config, directory)
    holds = all_hold(found)
    if json:
        print_json({"name": known.name, "holds": holds, "rates": [each.fields for each in found]})
    else:
        print_reproductions(Console(), known, found)
    if markdown is not None:
        append_text(markdown, rows_in_markdown(known, found, info.provenance))
    return 0 if holds else _DIFFERS


def _require_protocol(known: KnownResult, config: Mapping[str, Any], directory: Path) -> None:
    """Check that a run was measured by the protocol of a known result; another number of episodes is only noted.

    Raises:
        ConfigError: an option of the protocol was another one in the run.
    """
    for option in known.options:
        key, _, value = option.removeprefix("--").partition("=")
        group, _, field = key.partition(".")
        found = config[group].get(field) if field else config[group]
        if str(found) == value or (key == "policy.path" and str(Path(value).absolute()) == found):
            continue
        difference = f"{directory} was run with --{key}={found}, and the protocol of {known.name} has --{key}={value}"
        if key not in _ONLY_NOTED or found is None:
            raise ConfigError(f"{difference}; run it by that protocol: proctor reproduce {known.name}.")
        note(f"{difference}.")
