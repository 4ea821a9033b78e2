"""What libraries print does not reach the terminal. In processes of their own: descriptors belong to the process."""

import os
import subprocess
import sys

import pytest

NOISE = """
import logging, os, subprocess, sys, warnings
print("python")
print("python's errors", file=sys.stderr)
warnings.warn("a warning")
logging.warning("a log entry")
os.write(1, b"native\\n")
os.write(2, b"native errors\\n")
subprocess.run(["echo", "a child"])
"""
SAID = ["python", "python's errors", "a warning", "a log entry", "native", "native errors", "a child"]


def printing(body, log="sys.argv[1]"):
    """A program that runs ``body`` with its output in a log; prints before and after."""
    indented = "\n".join(f"    {line}" for line in body.splitlines())
    return f"""
import sys
from pathlib import Path
from proctor.reports.output import printing_into
print("before")
with printing_into({f"Path({log})" if log else None}) as console:
    console.print("from the console")
{indented}
print("after")
print("after, errors", file=sys.stderr)
"""


def run(program, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False, **options
    )


def test_everything_else_goes_into_the_log(tmp_path):
    """Python's and native output, warnings, logging, children; the console still reaches standard error."""
    log = tmp_path / "run" / "worker.log"

    done = run(printing(NOISE), str(log))

    assert (done.stdout, done.stderr) == ("before\nafter\n", "from the console\nafter, errors\n")
    written = log.read_text()
    for words in SAID:
        assert words in written


def test_an_error_is_not_hidden(tmp_path):
    """A traceback is printed where everybody sees it."""
    done = run(printing("raise ZeroDivisionError"), str(tmp_path / "log"))

    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_a_terminal_that_lacks_a_character_gets_another(tmp_path):
    """An old locale is no reason to stop."""
    program = printing("console.print('a … b')")

    done = run(program, str(tmp_path / "log"), env={**os.environ, "PYTHONIOENCODING": "ascii:backslashreplace"})

    assert done.returncode == 0
    assert "from the console\na \\u2026 b" in done.stderr


def test_a_log_is_only_added_to(tmp_path):
    """Workers write there too."""
    log = tmp_path / "log"
    log.write_text("from a worker\n")

    run(printing("print('more')"), str(log))

    assert log.read_text() == "from a worker\nmore\n"


def test_without_a_log_nothing_is_diverted():
    """Where nobody shows a display."""
    done = run(printing(NOISE, log=None))

    for words in SAID:
        assert words in done.stdout + done.stderr


def test_where_somebody_has_replaced_standard_error_nothing_is_diverted(tmp_path):
    """A notebook shows what is printed in its own way."""
    program = printing("print('shown')").replace("import sys", "import io, sys\nsys.stderr = io.StringIO()", 1)

    done = run(program, str(tmp_path / "log"))

    assert "shown" in done.stdout
    assert not (tmp_path / "log").exists()


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_the_console_is_as_wide_as_the_terminal_that_it_writes_to(tmp_path):
    """Although the standard streams lead into a file, and standard input is none either."""
    import fcntl
    import struct
    import termios

    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    program = printing("Path(sys.argv[2]).write_text(str((console.width, console.height, console.is_terminal)))")
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "log"), str(tmp_path / "size")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env={**environment, "TERM": "xterm"},
    ) as process:
        assert process.wait() == 0
    os.close(theirs)
    os.close(ours)

    assert (tmp_path / "size").read_text() == "(77, 33, True)"
