"""What surrounds other people's code (a simulator, a module that the user named) where it runs in this process.

Such code finds nothing on standard input, cannot end the process by an exception, and cannot begin an evaluation while
it is imported.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from proctor.errors import ConfigError

_STDIN = 0
_LONGEST_TEXT = 4000

_being_imported: ContextVar[str] = ContextVar("_being_imported", default="")


def import_foreign(module: str, purpose: str = "") -> ModuleType:
    """Import a module whose code is not ours. ``purpose`` stands behind its name in the error.

    Raises:
        ImportError: it, or something that it imports, is not there.
        ConfigError: importing it fails in another way, even by ``SystemExit``, or begins an evaluation.
    """
    token = _being_imported.set(module)
    try:
        with without_stdin():
            return importlib.import_module(module)
    except (ImportError, ConfigError):
        raise
    except BaseException as error:
        if is_ctrl_c(error):
            raise
        raise ConfigError(f"Cannot import {module}{purpose}: {described(error)}.") from error
    finally:
        _being_imported.reset(token)


def refuse_while_importing() -> None:
    """Called where an evaluation begins: one that importing a module begins would begin again in every worker.

    Raises:
        ConfigError: a module is being imported by :func:`import_foreign`.
    """
    if module := _being_imported.get():
        raise ConfigError(
            f"{module} begins an evaluation while it is imported for another one; "
            "put what begins it below `if __name__ == '__main__':`."
        )


@contextmanager
def without_stdin() -> Iterator[None]:
    """Have this process read from ``/dev/null`` in place of its standard input, also in native code.

    A debugger keeps the terminal: nothing changes while one traces, and ``breakpoint()`` gets standard input back.
    """
    if sys.gettrace() is not None:
        yield
        return
    stdin, ask = sys.stdin, sys.breakpointhook
    try:
        saved = os.dup(_STDIN)
    except OSError:  # it is closed, so nobody can read from it
        yield
        return

    def debug(*args: Any, **kwargs: Any) -> Any:
        os.dup2(saved, _STDIN)
        sys.stdin, sys.breakpointhook = stdin, ask
        return ask(*args, **kwargs)

    try:
        with open(os.devnull, encoding="utf-8") as nothing:  # noqa: PTH123 - not a file of anybody's
            os.dup2(nothing.fileno(), _STDIN)
            sys.stdin, sys.breakpointhook = nothing, debug
            yield
    finally:
        sys.stdin = stdin
        if sys.breakpointhook is debug:
            sys.breakpointhook = ask
        os.dup2(saved, _STDIN)
        os.close(saved)


@contextmanager
def refusing_exits(sentence: str) -> Iterator[None]:
    """Have other people's code end this process by no exception: what is no ``Exception`` becomes a sentence.

    Raises:
        ConfigError: it raised ``SystemExit`` or the like: ``sentence``, a colon, and what it raised. The user's Ctrl-C
            is passed on.
    """
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        if is_ctrl_c(error):
            raise
        raise ConfigError(f"{sentence}: {described(error)}.") from error


def is_ctrl_c(error: BaseException) -> bool:
    """Whether an exception that other people's code let through is the user's Ctrl-C. Where a signal does not raise
    one, as in a run that waits for it and in a worker, that code has raised it itself.
    """
    may_be = threading.current_thread() is threading.main_thread()
    may_be = may_be and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return may_be and isinstance(error, KeyboardInterrupt)


def described(error: BaseException) -> str:
    """An exception of other people's in words that can be written down: its type and its message, at most 4000
    characters of it, without characters that UTF-8 cannot hold. One of ours is its own sentence.
    """
    try:
        text = str(error)
    except BaseException as second:  # noqa: BLE001 - `__str__` is their code too
        text = f"its message cannot be read, {type(second).__name__}"
    if not isinstance(error, ConfigError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return encodable(text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}… ({len(text)} characters)")


def encodable(text: str) -> str:
    """Text with a backslash sequence for what UTF-8 cannot hold: a byte of a file's name, half of a character."""
    return text.encode("utf-8", "backslashreplace").decode()


def require_utf8(texts: Iterable[str]) -> None:
    """Refuse names that cannot be written down.

    Raises:
        ConfigError: one of them is not UTF-8, or Python did not read it as UTF-8.
    """
    for text in texts:
        if text != (shown := encodable(text)):
            raise ConfigError(
                f"'{shown}' is not UTF-8, as everything that Proctor writes is: choose another name, or set "
                "PYTHONUTF8=1 if the name is right and the locale is not."
            )
