"""``proctor report``: where the page is written, and of what."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from proctor.cli import main

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture
def stored(tmp_path):
    """A real run of Meta-World, as it was kept."""
    return Path(shutil.copytree(DATA / "run_v1", tmp_path / "run"))


def test_it_lies_in_the_runs_directory_and_is_named(stored, capsys):
    """What it says is what show says."""
    assert main(["show", str(stored)]) == 0
    headline = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Success rate"))

    assert main(["report", str(stored)]) == 0

    assert capsys.readouterr().out == f"{stored / 'report.html'}\n"
    page = (stored / "report.html").read_text()
    assert f"<strong>{headline.split('  ')[0]}</strong>" in page
    assert page.startswith("<!DOCTYPE html>")


def test_several_lie_beside_each_other_with_their_comparison(stored, tmp_path, capsys):
    """In the file that was asked for, whose folder is made; shards in one directory are one run."""
    output = tmp_path / "new" / "both.html"

    assert main(["report", str(stored), str(DATA / "run_v1_shards"), f"--output={output}"]) == 0

    assert capsys.readouterr().out == f"{output}\n"
    assert "No difference between B and A is shown" in output.read_text()
    assert not (stored / "report.html").exists()


def test_lerobots_result_file_is_enough(tmp_path, capsys):
    """For what it says: nothing in it identifies an episode, and that is said."""
    file = shutil.copy(DATA / "lerobot_eval_info.json", tmp_path)

    assert main(["report", str(file)]) == 0

    page = (tmp_path / "report.html").read_text()
    assert "The file records neither what was evaluated nor which episodes these are." in page
    assert "0/4" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "nothing cannot be read: No such file or directory; give a run directory or an eval_info.json."),
        (["RUN", "--output=RUN/run.json/page.html"], "run.json/page.html cannot be written"),
        (["RUN", "nothing"], "nothing cannot be read"),
    ],
)
@pytest.mark.usefixtures("in_an_empty_folder")
def test_a_users_mistake_is_a_sentence(stored, capsys, arguments, message):
    """No traceback, no page."""
    status = main(["report", *[argument.replace("RUN", str(stored)) for argument in arguments]])

    err = capsys.readouterr().err
    assert status in (2, 4)
    assert message in err
    assert err.count("\n") == 1


def test_a_missing_package_is_a_sentence(stored):
    """With the extra that brings it."""
    code = (
        "import sys; sys.modules['jinja2'] = None\n"
        f"from proctor.cli import main; sys.exit(main(['report', {str(stored)!r}]))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "jinja2 is not installed; install it with: pip install 'proctor-eval[report]'" in done.stderr
