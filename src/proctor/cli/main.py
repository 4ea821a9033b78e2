"""The entry point: finds the command, and turns every error into a sentence and an exit status."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console
from rich.text import Text

from proctor.cli.arguments import expand
from proctor.errors import ProctorError

app = App(
    name="proctor",
    help="Gives a robot policy its exam: success rate, reward, and how sure one can be.",
    help_format="plaintext",
    default_parameter=Parameter(name_transform=lambda name: name, negative=()),
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # main has a word to say about it
)
# Addresses, not functions: `proctor --help` imports no command.
app.command("proctor.cli.eval:eval_command", name="eval", help="Evaluate a policy on a benchmark.")
app.command("proctor.cli.resume:resume_command", name="resume", help="Go on with an interrupted evaluation.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and give its exit status: see :mod:`proctor.errors` and ``docs/cli.md``."""
    console = Console(stderr=True)
    try:
        tokens = expand(sys.argv[1:] if arguments is None else arguments)
        status = app(tokens, print_error=False, exit_on_error=False, console=Console())
    except CycloptsError as error:
        _print_error(console, str(error))
        return 2
    except ProctorError as error:
        _print_error(console, f"{error}\n{error.hint}".rstrip())
        return error.exit_code
    except KeyboardInterrupt:
        console.print("Interrupted.")
        return 130
    return status if isinstance(status, int) else 0


def _print_error(console: Console, message: str) -> None:
    """For people to read: what it quotes of a file or a simulator does not control the terminal."""
    shown = "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in message)
    console.print(Text.assemble(("Error: ", "bold red"), shown), soft_wrap=True)
