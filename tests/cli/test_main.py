"""The command line as its user meets it: exit statuses, and sentences instead of tracebacks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from proctor.cli import main
from proctor.errors import ProctorError
from proctor.testing.fakes import FAKE_BENCHMARK

RUN = ["eval", "--policy.type=expert", f"--env.type={FAKE_BENCHMARK}", "--eval.n_episodes=2", "--eval.batch_size=1"]


@pytest.fixture
def run_arguments(tmp_path):
    """A command that works, in this process."""
    return [*RUN, "--eval.display=none", f"--output_dir={tmp_path / 'run'}"]


def test_an_evaluation_prints_its_result_and_where_it_is(run_arguments, tmp_path, capsys):
    """And exits with 0."""
    assert main(run_arguments) == 0

    out, err = capsys.readouterr()
    assert "Success rate 100.0 %" in out
    assert str(tmp_path / "run") in out.replace("\n", "")
    assert err == ""
    assert json.loads((tmp_path / "run" / "eval_info.json").read_text())["overall"]["n_episodes"] == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--eval.n_episode=3"], "Did you mean --eval.n_episodes?"),
        (["--eval.n_episodes=many"], "--eval.n_episodes"),
        (["--eval.n_episodes=0"], "eval.n_episodes is 0; it must be at least 1."),
        (["--eval.shard_id=3"], "shards are numbered 0 to 0."),
        (["--eval.use_async_envs=maybe"], "maybe"),
        (["--nonsense=1"], "--nonsense"),
        (["--seed=-1"], "seed is -1"),
        (["--seed", "-1"], "seed is -1"),
        (["--env.type=pushT"], "Unknown benchmark 'pushT'. Did you mean 'pusht'?"),
        (["--env.type=os:getcwd"], "os:getcwd is not a benchmark"),
        (["--env.type=os:nothing"], "os has no 'nothing'"),
        (["--env.type="], "Which benchmark? Give --env.type, one of"),
        (["--env.n_task=3"], "Unknown field env.n_task. Did you mean 'n_tasks'?"),
        (["--env.n_tasks=0"], "fake has no task"),
        (["--env.n_tasks=x"], "env.n_tasks is 'x': expected `int`, got `str`."),
        (['--env.faults={"a'], "is neither JSON nor YAML"),
        (["--env.episode_length=100"], "has at most 20 steps"),
        (["--policy.type=experts"], "Unknown policy type 'experts'. Did you mean 'expert'?"),
        (["--policy.type=molmoact2"], "give the checkpoint in its place: --policy.path=CHECKPOINT"),
        (["--policy.type=act", "--policy.pretrained_path=a/b"], "'act' is the type of a LeRobot checkpoint"),
        (["--policy.type=act", "--policy.pretrained_path=a/b"], "--policy.path=a/b"),
        (["--policy.type="], "Which policy? Give --policy.path=<checkpoint>, or --policy.type, one of"),
        (["--policy.noise=1"], "Unknown field policy.noise"),
        (["--policy.type=function"], "policy: Object missing required field `function`."),
        (["--policy.type=function", "--policy.function=json"], "not an address of the form module:attribute"),
        (["--policy.type=function", "--policy.function=math:pi"], "3.14159"),
        (["--policy.path=/no/such/checkpoint"], "/no/such/checkpoint"),
        (["--config_path=/no/such/file"], "/no/such/file cannot be read"),
        (["--config_path"], "--config_path needs the name of a file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_users_error_is_one_sentence_and_exit_status_2(run_arguments, tmp_path, capsys, arguments, message):
    """On the error stream, with what to do; nothing has been started and nothing written."""
    assert main([*run_arguments, *arguments]) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Error: ")
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evil"], 'Did you mean "eval"?'),
        (["resume"], "RUN_DIR"),
        (["resume", "/no/such/run"], "/no/such/run is not a run directory"),
        (["eval"], "Which benchmark?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.usefixtures("in_an_empty_folder")
def test_a_command_that_cannot_be_understood_is_one_sentence_too(capsys, arguments, message):
    """Exit status 2."""
    assert main(arguments) == 2

    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_every_error_ends_with_its_own_status_and_its_hint(monkeypatch, run_arguments, capsys):
    """The tree in :mod:`proctor.errors` says which."""

    class PeculiarError(ProctorError):
        exit_code = 42
        hint = "Try again tomorrow."

    def fail(*_):
        raise PeculiarError("It is late.")

    monkeypatch.setattr("proctor.evaluation.prepared_run.prepare", fail)

    assert main(run_arguments) == 42
    assert capsys.readouterr().err == "Error: It is late.\nTry again tomorrow.\n"


def test_control_characters_do_not_reach_the_terminal(monkeypatch, run_arguments, capsys):
    """A message may quote what a simulator or a file says."""

    def fail(*_):
        raise ProctorError("a\x1b[2Jb\x07c\nsecond line")

    monkeypatch.setattr("proctor.evaluation.prepared_run.prepare", fail)
    main(run_arguments)

    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert "\x07" not in err
    assert "\nsecond line" in err


def test_a_bug_is_shown_whole(monkeypatch, run_arguments):
    """It is not dressed up as the user's mistake."""

    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("proctor.evaluation.prepared_run.prepare", fail)

    with pytest.raises(ZeroDivisionError):
        main(run_arguments)


def test_ctrl_c_before_anything_runs_is_130(monkeypatch, run_arguments, capsys):
    """Without a traceback."""

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("proctor.evaluation.prepared_run.prepare", interrupt)

    assert main(run_arguments) == 130
    assert "Interrupted" in capsys.readouterr().err


def test_the_three_spellings_and_the_file_reach_the_evaluation(tmp_path, capsys):
    """Whichever way it is said, it is the same run: the second finds it finished."""
    config = tmp_path / "config.yaml"
    fields = {"policy": {"type": "expert"}, "env": {"type": FAKE_BENCHMARK}, "eval": {"n_episodes": 1}}
    fields |= {"output_dir": str(tmp_path / "run")}
    config.write_text(json.dumps(fields))
    assert main(["eval", f"--config_path={config}", "eval.display=none", "--eval.use-async-envs", "false"]) == 0
    written = (tmp_path / "run" / "journal.jsonl").read_bytes()

    spelled = [
        "policy.type=expert",
        "--env.type",
        FAKE_BENCHMARK,
        "--eval.n_episodes=1",
        f"output-dir={tmp_path / 'run'}",
    ]
    assert main(["eval", *spelled, "--eval.display=none"]) == 0

    again = (tmp_path / "run" / "journal.jsonl").read_bytes()
    assert again.startswith(written)
    assert again.count(b'"kind":"episode"') == 2
    capsys.readouterr()


def test_help_is_there_for_everything():
    """As a process of its own, with its exit status."""
    for arguments in (["--help"], ["eval", "--help"], ["resume", "--help"]):
        done = subprocess.run(
            [sys.executable, "-m", "proctor", *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0
        assert "Usage: proctor" in done.stdout
        assert done.stderr == ""


def test_a_run_with_a_secret_cannot_be_resumed_from_its_files(run_arguments, tmp_path, capsys):
    """What was left out of run.json is not made up: the sentence says to give the command again."""
    assert main(run_arguments) == 0
    run = tmp_path / "run" / "run.json"
    run.write_text(run.read_text().replace('"job_name": null', '"job_name": "<redacted>"'))
    capsys.readouterr()

    assert main(["resume", str(tmp_path / "run")]) == 2
    assert "give the whole command again" in capsys.readouterr().err


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_command_with_closed_streams_runs_to_its_end(closed, tmp_path):
    """What is opened next would get their numbers: pipes of workers, into which simulators print."""
    run = ["-m", "proctor", *RUN[:-1], "--eval.batch_size=2", "--eval.video=none", f"--output_dir={tmp_path / 'run'}"]

    done = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, *run], timeout=300, check=False)

    assert done.returncode == 0
    assert json.loads((tmp_path / "run" / "eval_info.json").read_text())["overall"]["pc_success"] == 100


def test_a_note_is_printed_once(monkeypatch, capsys):
    """However often it is given; the next command gives it again."""
    from proctor.errors import note

    def give(_):
        for _ in range(3):
            note("The sea is calm.")
        note("The wind is not.")

    monkeypatch.setattr(sys.modules["proctor.cli.main"], "_run", give)
    for _ in range(2):
        main(["list"])
        assert capsys.readouterr().err == "Note: The sea is calm.\nNote: The wind is not.\n"


FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


@pytest.mark.parametrize(
    ("streams", "status"),
    [
        ("2>&1 | true", 0),
        pytest.param("2>/dev/full", 0, marks=FULL),
        pytest.param(">/dev/full", 4, marks=FULL),
    ],
)
def test_a_run_whose_output_cannot_be_written_is_finished(streams, status, tmp_path):
    """It is measured and summarised; that what it printed is lost is told where it can be, and by the exit status."""
    run = ["-m", "proctor", *RUN[:-1], "--eval.batch_size=2", "--eval.video=first", f"--output_dir={tmp_path / 'run'}"]
    script = f'set -o pipefail; "$@" {streams}'

    done = subprocess.run(
        ["bash", "-c", script, "bash", sys.executable, *run], timeout=300, check=False, capture_output=True, text=True
    )

    assert done.returncode == status
    assert "Traceback" not in done.stderr
    assert ("Standard output could not be written: No space left on device." in done.stderr) == bool(status)
    assert json.loads((tmp_path / "run" / "eval_info.json").read_text())["overall"]["pc_success"] == 100
    assert list((tmp_path / "run" / "videos").glob("*/*.mp4"))


def test_only_a_command_declares_its_process_proctors_own(monkeypatch):
    """A program that calls ``main`` with arguments of its own may use LeRobot itself."""
    module, declared = sys.modules["proctor.cli.main"], []
    for name in ("raise_on_signals", "end_although_threads_run"):
        monkeypatch.setattr(module, name, lambda *_: None)
    monkeypatch.setattr(module, "declare_own_process", lambda: declared.append(1))
    monkeypatch.setattr(sys, "argv", ["proctor", "--version"])

    module.main(["--version"])
    assert declared == []

    module.main()
    assert declared == [1]
