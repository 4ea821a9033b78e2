"""Who holds a lock, seen from outside."""

from __future__ import annotations

import subprocess
import sys

from proctor.results.lock import FileLock, holder_of

HOLD = """
import sys
from pathlib import Path
from proctor.results.lock import FileLock
with FileLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_holder_is_named_and_keeps_the_lock(tmp_path):
    """Looking takes nothing; a holder that was killed holds nothing, though its file is still there."""
    path = tmp_path / "journal.lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()

        for _ in range(2):
            assert holder_of(path).startswith(f"process {process.pid} on ")

        process.kill()
        process.wait()

    assert path.exists()
    assert holder_of(path) is None


def test_ones_own_lock_is_not_lost_by_looking_at_it(tmp_path):
    """Closing any descriptor of the file would give it up."""
    path = tmp_path / "journal.lock"
    look = "from pathlib import Path\nfrom proctor.results.lock import holder_of\n"
    look += f"print(holder_of(Path({str(path)!r})))"
    with FileLock(path):
        assert holder_of(path) == "this process"

        done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("process ")

    assert holder_of(path) is None
