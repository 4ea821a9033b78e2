"""Guards around foreign code (a simulator, a module that the user named) that runs in this process.

Foreign code finds an empty standard input, cannot end the process by an exception, and cannot start an evaluation while
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
    """Import a foreign module. ``purpose`` follows its name in the error message.

    Raises:
        ImportError: the module, or a module that it imports, is not installed.
        ConfigError: the import fails in another way, even by ``SystemExit``, or starts an evaluation.
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
    """Refuse to start an evaluation during an import, because every worker would import the module and start it again.

    Raises:
        ConfigError: :func:`import_foreign` is importing a module.
    """
    if module := _being_imported.get():
        raise ConfigError(
            f"{module} starts an evaluation while it is imported for another one; "
            "move the code that starts it below `if __name__ == '__main__':`."
        )


@contextmanager
def without_stdin() -> Iterator[None]:
    """Replace this process's standard input by ``/dev/null`` for a block, also for native code.

    A debugger keeps the terminal: nothing changes while one traces, and ``breakpoint()`` restores standard input.
    """
    if sys.gettrace() is not None:
        yield
        return
    stdin, ask = sys.stdin, sys.breakpointhook
    try:
        saved = os.dup(_STDIN)
    except OSError:  # it is closed, so nothing can read from it
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
    """Turn any exception of foreign code that is not an ``Exception`` into a ConfigError, so the process goes on.

    Raises:
        ConfigError: the code raised ``SystemExit`` or similar; the message is ``sentence``, a colon and the exception.
            The user's Ctrl-C is not converted.
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
    """Return True if an exception that came out of foreign code is the user's Ctrl-C.

    If a signal does not raise KeyboardInterrupt here, as in a worker, the foreign code has raised it itself.
    """
    may_be = threading.current_thread() is threading.main_thread()
    may_be = may_be and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return may_be and isinstance(error, KeyboardInterrupt)


def described(error: BaseException) -> str:
    """Return an exception's type and message as text: at most 4000 characters, all of which UTF-8 can encode.

    A ConfigError is its own sentence, without the type.
    """
    try:
        text = str(error)
    except BaseException as second:  # noqa: BLE001 - `__str__` is foreign code too
        text = f"its message cannot be read, {type(second).__name__}"
    if not isinstance(error, ConfigError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return encodable(text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}… ({len(text)} characters)")


def encodable(text: str) -> str:
    """Replace whatever UTF-8 cannot encode (a byte of a file name, a lone surrogate) by a backslash sequence."""
    return text.encode("utf-8", "backslashreplace").decode()


def require_utf8(texts: Iterable[str]) -> None:
    """Refuse names that cannot be written to files.

    Raises:
        ConfigError: a name is not UTF-8, or Python did not read it as UTF-8.
    """
    for text in texts:
        if text != (shown := encodable(text)):
            raise ConfigError(
                f"'{shown}' is not UTF-8, but Proctor writes all its files in UTF-8; choose another name, or set "
                "PYTHONUTF8=1 if the name is right and the locale is not."
            )
