"""The entry point: finds the command, and turns every error into a sentence and an exit status."""

from __future__ import annotations

import errno
import io
import os
import sys
import warnings
from collections.abc import Sequence
from typing import TextIO

from cyclopts import App, CycloptsError, Group, Parameter

from proctor.child import declare_own_process
from proctor.child.loading import without_garbage_collection
from proctor.cli.arguments import COMPLETE, expand
from proctor.cli.help import EXAMPLES, FIRST_STEPS, print_fields, print_panel, typed_options
from proctor.errors import Interrupted, Note, ProctorError, ResourceError, distribution_name
from proctor.machine.home import prepare_surroundings
from proctor.machine.signals import raise_on_signals, signal_of
from proctor.machine.threads import end_although_threads_run
from proctor.reports.output import LastingFile, lasting_streams
from proctor.security.redaction import redact_text, secrets_in_command

_GROUPS = {
    "Evaluate": {
        "eval": "Evaluate a policy on a benchmark.",
        "parallel": "Evaluate in several processes, each with a policy and simulators, on one or more GPUs.",
        "sweep": "Evaluate every checkpoint of a training, and say which is the best.",
        "race": "Evaluate policies until it is known which is the best.",
        "resume": "Go on with an interrupted evaluation.",
        "merge": "Put the shards of an evaluation together.",
        "probe": "Look at what a policy is given and gives, in one short episode.",
        "open-loop": "Compare a policy's predictions on recorded observations with the recorded actions.",
        "check": "Check that a policy's results do not depend on how they are computed.",
        "reproduce": "Measure a published success rate again, and compare.",
        "serve": "Serve a policy to other programs over openpi's protocol.",
        "plan": "Compute how many episodes tell two policies apart.",
        "autotune": "Measure an evaluation on this machine, and recommend how to run it fast.",
    },
    "Look at results": {
        "runs": "List the evaluations here, the last one first.",
        "show": "Show the results of an evaluation, finished or not.",
        "audit": "Hold what a policy was given against what it was trained on.",
        "profile": "Show where the time of an evaluation went.",
        "compare": "Compare policies: is one better than another, and how sure is that?",
        "replay": "Render videos of episodes of an evaluation by running them again.",
        "record": "Record episodes of an evaluation as a LeRobotDataset by running them again.",
        "report": "Write a page of HTML that shows evaluations and their episodes.",
        "view": "Show a folder of evaluations in the browser, also while they run.",
        "export": "Write episodes as CSV or Parquet, or rates for a page of the Hub.",
    },
    "Set up": {
        "demo": "Evaluate the bundled checkpoint on three tasks, with videos.",
        "list": "List benchmarks, their tasks, and policies.",
        "env": "Create environments of their own for simulators that do not fit into this one.",
        "doctor": "Check whether this machine is ready, and say how to repair what is not.",
        "help": "Show the help of a command.",
        "completion": "Install completion for your shell.",
    },
}
"""The commands as ``proctor --help`` groups them. Command ``name`` is ``name_command`` in ``proctor.cli.name``, with
an underscore for each dash."""


_HELP = {"--help", "-h"}
_NOT_TO_BE_OPENED = (errno.ENAMETOOLONG, errno.EACCES)
"""The errors of a path that only its giver can mend, on the command line or in a file: too long, or not permitted."""
_LONGEST_PATH = 300
_NOBODY_READS = (errno.EPIPE, errno.EIO)
"""The errors of a pipe whose reader has ended, and of a terminal that is gone."""


def _version() -> str:
    from importlib.metadata import version

    return version(distribution_name())


def _make_app() -> App:
    app = App(
        name="proctor",
        help="Gives a robot policy its exam: success rate, reward, and how sure one can be.",
        help_epilogue=FIRST_STEPS,
        help_format="plaintext",
        version=_version,
        version_flags=["--version", "-V"],
        default_parameter=Parameter(name_transform=lambda name: name, negative=()),
        group_commands=Group("Options", sort_key=len(_GROUPS)),
        group_parameters=Group("Options", sort_key=len(_GROUPS), help_formatter=print_panel),
        result_action="return_value",
        suppress_keyboard_interrupt=False,  # main prints its own message
    )
    for number, (title, commands) in enumerate(_GROUPS.items()):
        group = Group(title, sort_key=number)
        for position, (name, summary) in enumerate(commands.items()):
            # An address, not a function: `proctor --help` imports no command.
            module = name.replace("-", "_")
            address = f"proctor.cli.{module}:{module}_command"
            texts = {"help": summary, "help_epilogue": EXAMPLES[name]}
            app.command(address, name=name, group=group, sort_key=position, **texts)
    return app


app = _make_app()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and give its exit status: see :mod:`proctor.errors`.

    Without ``arguments``, those of the process are run, and the process ends soon after.
    """
    _open_standard_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # characters that the locale lacks are replaced, as on standard error
    prepare_surroundings()
    if arguments is None:
        declare_own_process()
        raise_on_signals()
    with lasting_streams() as files, warnings.catch_warnings():
        warnings.simplefilter("always", Note)
        warnings.showwarning = _Warnings().show
        status = _run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
        status = _with_loss(files, status)
    if arguments is None:
        end_although_threads_run(status)
    return status


def _with_loss(files: Sequence[LastingFile], status: int) -> int:
    """Print why standard output could not be written, unless its reader is gone, and return the exit status."""
    lost = files[0].problem if files else None
    if lost is None or lost.errno in _NOBODY_READS:
        return status
    _print_error(f"Standard output could not be written: {lost.strerror}. What was printed is incomplete.")
    return status or ResourceError.exit_code


def _open_standard_streams() -> None:
    """Open the null device in place of standard streams that were closed when the command was started (``>&-``).

    Else the next file or pipe would get such a stream's number, and workers would print into it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the null device gets the lowest free number
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - until the process ends


def _run(words: Sequence[str]) -> int:
    try:
        status = _run_command(words)
    except CycloptsError as error:
        _print_error(redact_text(str(error), secrets_in_command(words)))
        return 2
    except Interrupted as interruption:
        _print(f"Interrupted.\n{interruption.hint}".rstrip())
        return interruption.exit_code
    except ProctorError as error:
        _print_error(redact_text(f"{error}\n{error.hint}".rstrip(), secrets_in_command(words)))
        return error.exit_code
    except OSError as error:
        if error.errno not in _NOT_TO_BE_OPENED or error.filename is None:
            raise
        _print_error(f"{str(error.filename)[:_LONGEST_PATH]} cannot be looked at: {error.strerror}; give another path.")
        return 2
    except KeyboardInterrupt as interruption:
        _print(f"Interrupted.\n{getattr(interruption, 'hint', '')}".rstrip())
        return 128 + signal_of(interruption)
    return status if isinstance(status, int) else 0


def _run_command(words: Sequence[str]) -> object:
    if words[:1] == [COMPLETE]:
        from proctor.cli.complete import print_candidates  # which loads what --help does not need

        return print_candidates(app, words[1:])
    tokens = expand(words)
    if _HELP.intersection(tokens) and (types := typed_options(tokens)):
        return print_fields("eval" if tokens[0].startswith("-") else tokens[0], types)
    status = _call(tokens)
    # A command may return the words of a command to run instead.
    return _call(status) if isinstance(status, list) else status


def _call(tokens: Sequence[str]) -> object:
    with without_garbage_collection():  # the command is imported here
        command, bound, _ = app.parse_args(tokens, print_error=False, exit_on_error=False)
    return command(*bound.args, **bound.kwargs)


class _Warnings:
    """The warnings of one command. Each note is printed once, though a sweep gives it for every checkpoint."""

    def __init__(self) -> None:
        self._notes: set[str] = set()

    def show(  # noqa: PLR0913, PLR0917 - the signature of warnings.showwarning
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """Print a note as a line for people to read, and any other warning as Python does."""
        if not issubclass(category, Note):
            (file or sys.stderr).write(warnings.formatwarning(message, category, filename, lineno, line))
        elif str(message) not in self._notes:
            self._notes.add(str(message))
            _print(str(message), "Note: ", "yellow")


def _print_error(message: str) -> None:
    _print(message, "Error: ", "bold red")


def _print(message: str, label: str = "", style: str = "") -> None:
    """Print a message on standard error, without control characters that it may quote from a file or a simulator."""
    from rich.console import Console
    from rich.text import Text

    shown = "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in message)
    Console(stderr=True).print(Text.assemble((label, style), shown), soft_wrap=True)
