"""Other people's code in this process: it reads nothing, ends nothing, and begins nothing."""

import os
import signal
import sys

import pytest

from proctor.errors import ConfigError
from proctor.plugins import load_object
from proctor.security.foreign_code import (
    described,
    encodable,
    import_foreign,
    refuse_while_importing,
    require_utf8,
    without_stdin,
)


@pytest.fixture
def a_user_who_types(monkeypatch):
    """Standard input in which something waits to be read."""
    readable, writable = os.pipe()
    os.write(writable, b"yes\nyes\n")
    os.close(writable)
    before = os.dup(0)
    os.dup2(readable, 0)
    os.close(readable)
    with open(0, closefd=False, encoding="utf-8") as typed:
        monkeypatch.setattr(sys, "stdin", typed)
        yield
    os.dup2(before, 0)
    os.close(before)


def test_nobody_reads_the_users_standard_input(a_user_who_types):
    """By Python or by native code; afterwards it is there again."""
    with without_stdin():
        with pytest.raises(EOFError):
            input()
        assert os.read(0, 10) == b""

    assert input() == "yes"


def test_a_breakpoint_has_the_terminal(a_user_who_types, monkeypatch):
    """What is for debugging can be debugged."""
    monkeypatch.setattr(sys, "breakpointhook", input)
    with without_stdin():
        assert breakpoint() == "yes"  # noqa: T100 - its hook only reads a line

    assert sys.breakpointhook is input


def test_a_closed_standard_input_is_left_closed():
    """There is nothing to take away."""
    before = os.dup(0)
    os.close(0)
    try:
        with without_stdin():
            pass
    finally:
        os.dup2(before, 0)
        os.close(before)


class Mute(Exception):  # noqa: N818 - as others name theirs
    """Raises when it is asked what it says."""

    def __str__(self):
        raise ValueError


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("it broke"), "RuntimeError: it broke"),
        (SystemExit(), "SystemExit"),
        (ConfigError("Give --env.task."), "Give --env.task."),
        (Mute(), "Mute: its message cannot be read, ValueError"),
        (OSError("no file \udcff"), "OSError: no file \\udcff"),
        (KeyError("x" * 9000), f"KeyError: '{'x' * 3989}… (9012 characters)"),
    ],
)
def test_any_exception_has_a_text_that_can_be_written(error, words):
    """Short enough, in UTF-8, whatever it does when it is asked."""
    text = described(error)

    assert (text[:30], text[-30:], len(text) < 4100) == (words[:30], words[-30:], True)
    assert encodable(text) == text


@pytest.mark.parametrize(
    "statement",
    [
        "raise SystemExit(0)",
        "raise BaseException",
        "raise GeneratorExit",
        "import asyncio; raise asyncio.CancelledError",
    ],
)
def test_a_module_that_ends_the_process_when_it_is_imported_is_an_error(tmp_path, monkeypatch, statement):
    """With a sentence, and no exit status 0."""
    (tmp_path / "leaves_early.py").write_text(statement)
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ConfigError, match=r"Cannot import leaves_early \(for leaves_early:predict\): "):
        load_object("leaves_early:predict")


def test_an_evaluation_that_an_import_begins_is_refused(tmp_path, monkeypatch):
    """It would begin in every process that imports the module."""
    (tmp_path / "begins.py").write_text("from proctor import evaluate\nevaluate({'type': 'zero'}, 'pusht')\n")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ConfigError, match="begins starts an evaluation while it is imported"):
        import_foreign("begins")
    refuse_while_importing()  # afterwards nothing is refused


def test_the_users_ctrl_c_is_no_error_of_a_module(tmp_path, monkeypatch, request):
    """It ends what the user wants to end."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    (tmp_path / "interrupted.py").write_text("raise KeyboardInterrupt")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(KeyboardInterrupt):
        import_foreign("interrupted")


@pytest.mark.parametrize("text", ["o/\udcff", "\ud83d", "é\udcc3"])
def test_a_name_that_is_not_utf8_is_shown_and_refused(text):
    """Half of a character too; what UTF-8 can hold is taken."""
    require_utf8(["", "é日🤖", "a\nb"])
    with pytest.raises(ConfigError, match=r"\\ud.*' is not UTF-8.* set PYTHONUTF8=1"):
        require_utf8(["é", text])
