"""Consent to running code: the command line gives it, for one command; nothing that lies on a disk does."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from proctor import evaluate, make_env
from proctor.cli import main
from proctor.config import RunConfig
from proctor.errors import ConfigError
from proctor.evaluation.prepared_run import prepare
from proctor.results.fingerprint import differing
from proctor.security.consent import gives_consent

sys.path.append(str(Path(__file__).parents[1] / "view"))
from served_runs import ask, viewing

CODE = """
from pathlib import Path
import gymnasium
Path(__file__).with_name("it_ran").touch()
def make_env(n_envs=1, use_async_envs=False):
    return gymnasium.make("CartPole-v1", render_mode="rgb_array")
"""
MODULE = """
from pathlib import Path
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv
Path(__file__).with_name("it_ran").touch()
gymnasium.register("OurPole-v0", entry_point=CartPoleEnv, max_episode_steps=9)
"""
EVALUATION = ["eval", "--policy.type=random", "--eval.n_episodes=1", "--eval.batch_size=1"]
EVALUATION += ["--eval.video=none", "--eval.display=none"]
CONSENT = "--trust_remote_code=true"


class Code:
    """A folder with code that leaves a trace where it runs, and a run of it."""

    def __init__(self, folder, file, text):
        folder.mkdir(parents=True)
        (folder / file).write_text(text)
        self.folder, self.run = folder, folder / "runs" / "theirs"

    def evaluate(self, *flags):
        assert main([*EVALUATION, *flags, f"--output_dir={self.run}"]) == 0
        return self

    def ran(self):
        """Whether it ran since this was asked last."""
        trace = self.folder / "it_ran"
        ran = trace.exists()
        trace.unlink(missing_ok=True)
        for name in [name for name in sys.modules if name == "our_poles" or name.startswith("proctor_hub_")]:
            del sys.modules[name]
        return ran

    def reopen(self):
        """As if it had been interrupted before its episode."""
        journal = self.run / "journal.jsonl"
        journal.write_bytes(b"\n".join(journal.read_bytes().split(b"\n")[:1]) + b"\n")


@pytest.fixture
def hub(tmp_path):
    return Code(tmp_path / "repo", "env.py", CODE)


@pytest.fixture
def theirs(hub):
    """A run of code from elsewhere, with consent."""
    hub.evaluate("--env.type=hub", f"--env.repo={hub.folder}", CONSENT)
    assert hub.ran()
    return hub


@pytest.fixture
def local(tmp_path, monkeypatch):
    """A run whose environment is a module of the working directory."""
    code = Code(tmp_path / "cloned", "our_poles.py", MODULE)
    monkeypatch.chdir(code.folder)
    monkeypatch.setattr("sys.path", list(sys.path))
    code.evaluate("--env.type=gymnasium", "--env.module=our_poles", "--env.task=OurPole-v0")
    assert code.ran()
    monkeypatch.setattr("sys.path", [entry for entry in sys.path if entry not in ("", str(code.folder))])
    return code


def consent_again(run):
    """As an earlier version wrote it."""
    file = run / "run.json"
    written = json.loads(file.read_text())
    for fields in (written["config"], written["config"]["env"], written["fingerprint"]["env"]):
        fields["trust_remote_code"] = True
    file.write_text(json.dumps(written))


@pytest.mark.parametrize("version", ["this one", "an earlier one"])
@pytest.mark.parametrize("command", ["resume {run}", "replay {run} --episode=0"])
def test_a_run_directory_does_not_consent(theirs, command, version, capsys):
    """The sentence names the command that does."""
    theirs.reopen() if command.startswith("resume") else None
    if version == "an earlier one":
        consent_again(theirs.run)
    words = command.format(run=theirs.run).split()

    assert main(words) == 2

    said = capsys.readouterr().err
    assert f"not installed here (of {theirs.folder}" in said
    assert f"proctor {words[0]} {theirs.run}" in said
    assert CONSENT in said
    assert not theirs.ran()
    assert main([*words, CONSENT]) == 0
    assert theirs.ran()


def test_consent_is_written_nowhere(theirs):
    """Not as such: what was typed is in the command, which nothing obeys."""
    for file in theirs.run.iterdir():
        for line in file.read_bytes().decode(errors="replace").splitlines():
            assert '"trust_remote_code":true' not in line.replace(" ", ""), file
    assert "trust_remote_code" not in json.loads((theirs.run / "run.json").read_text())["fingerprint"]["env"]


def test_an_interrupted_run_says_how_it_is_gone_on_with(theirs):
    """With the consent that going on takes."""
    config = RunConfig(
        policy={"type": "random"},
        env={"type": "hub", "repo": str(theirs.folder)},
        trust_remote_code=True,
        output_dir=str(theirs.run),
    )

    assert prepare(config).resume_hint == f"go on with: proctor resume {theirs.run} {CONSENT}"


def test_the_commands_that_show_prints_hold_the_consent_they_take(theirs, capsys):
    """Those that go on with the run, and those that film an episode of it."""
    main(["show", str(theirs.run)])
    assert f"--episode 0 {CONSENT}" in capsys.readouterr().out
    theirs.reopen()

    assert main(["show", str(theirs.run)]) == 0

    assert f"Go on       proctor resume {theirs.run} {CONSENT}\n" in capsys.readouterr().out


def test_a_run_of_a_module_in_the_working_directory_says_it_too(tmp_path, monkeypatch):
    """Where it was found because its name was typed."""
    (tmp_path / "poles_of_mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    env = {"type": "gymnasium", "module": "poles_of_mine", "task": "OurPole-v0"}

    job = prepare(RunConfig(policy={"type": "random"}, env=env, output_dir="run"))

    assert job.resume_hint == f"go on with: proctor resume run {CONSENT}"


@pytest.mark.parametrize("words", [["resume"], ["replay", "--episode=0"]])
def test_a_run_directory_has_no_module_of_the_working_directory_imported(local, words, capsys):
    """A run that lies beside such a module may be somebody else's, as the module is."""
    local.reopen() if words[0] == "resume" else None
    words = [words[0], str(local.run), *words[1:]]

    assert main(words) == 2

    assert "module our_poles" in capsys.readouterr().err
    assert not local.ran()
    assert main([*words, CONSENT]) == 0
    assert local.ran()


def film(folder):
    """Press the button for the only run's only episode; what the page is told of it."""
    (run,) = (path for path in folder.iterdir() if (path / "run.json").exists())
    task = json.loads((run / "run.json").read_text())["plan"][0]["task"]
    body = json.dumps({"suite": task["suite"], "task_id": task["task_id"], "episode": 0}).encode()
    with viewing(folder) as viewer:
        run_id = re.search(r"/runs/([0-9a-f]{16})", ask(viewer, "/").text)[1]
        token = re.search(r'data-token="([^"]+)"', ask(viewer, f"/runs/{run_id}").text)[1]
        answer = ask(viewer, f"/runs/{run_id}/replays", "POST", body, x_proctor_token=token)
        told = ask(viewer, f"/events?run={run_id}").text
    (replay,) = json.loads(told.partition("data: ")[2].partition("\n")[0])["replays"]
    return json.loads(answer.text), replay


@pytest.mark.parametrize("code", ["theirs", "local"])
def test_the_viewer_says_the_command_instead_of_running_it(code, request, monkeypatch):
    """Also where ``PYTHONPATH`` leads to the module."""
    code = request.getfixturevalue(code)
    monkeypatch.syspath_prepend(code.folder)

    answer, replay = film(code.run.parent)

    assert answer == {"state": "failed"}
    assert f"proctor replay {code.run} --task=" in replay["message"]
    assert replay["message"].endswith(CONSENT)
    assert not code.ran()


@pytest.mark.parametrize(
    "text",
    [
        "trust_remote_code: true",
        "trust-remote-code: yes",
        "Trust_Remote_Code: 1",
        '{"trust_remote_code": "true"}',
        "env: {type: hub, trust_remote_code: true}",
        "env.trust-remote-code: true",
        "env: {kwargs: {options: [{trust_remote_code: true}]}}",
        """env: {kwargs: '{"trust_remote_code": true}'}""",
        """env: {kwargs: '{"trust\\u005fremote_code": true}'}""",
        """env: {kwargs: "{a: [{trust-remote-code: yes}]}"}""",
    ],
)
def test_a_configuration_file_does_not_consent(hub, tmp_path, text, capsys):
    """In whatever spelling, and however deep."""
    (tmp_path / "file.yaml").write_text(text)

    status = main([*EVALUATION, "--env.type=hub", f"--env.repo={hub.folder}", f"--config_path={tmp_path}/file.yaml"])

    assert status == 2
    assert "which only the command line can give: --trust_remote_code=true" in capsys.readouterr().err
    assert not hub.ran()


def test_a_field_of_the_environment_does_not_consent(hub, capsys):
    """There is one way to."""
    words = [*EVALUATION, "--env.type=hub", f"--env.repo={hub.folder}"]

    for flag in ("--env.trust_remote_code=true", "--env.trust-remote-code=1"):
        assert main([*words, flag]) == 2
        assert "gives no consent; give --trust_remote_code=true itself" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="trust_remote_code=True in Python"):
        make_env({"type": "hub", "repo": str(hub.folder), "trust_remote_code": True})
    assert not hub.ran()


def test_python_consents_by_a_keyword(hub, tmp_path):
    """For one call."""
    env = {"type": "hub", "repo": str(hub.folder)}

    assert evaluate({"type": "random"}, env, n_episodes=1, output_dir=tmp_path / "a", trust_remote_code=True)

    assert hub.ran()
    with pytest.raises(ConfigError, match="consent with --trust_remote_code=true"):
        evaluate({"type": "random"}, env, n_episodes=1, output_dir=tmp_path / "b")
    assert not hub.ran()


def test_an_argument_of_an_environment_that_consents_is_given_again_with_consent(tmp_path, capsys):
    """What ``gymnasium.make`` was given may itself be consent."""
    run = tmp_path / "run"
    words = [*EVALUATION, "--env.type=gymnasium", "--env.module=proctor_test_poles", "--env.task=TrustingPole-v0"]
    with pytest.MonkeyPatch.context() as patch:
        (tmp_path / "proctor_test_poles.py").write_text(
            "import gymnasium\nfrom gymnasium.envs.classic_control import CartPoleEnv\n"
            "def make(trust_remote_code, render_mode=None):\n    assert trust_remote_code is True\n"
            "    return CartPoleEnv()\n"
            "gymnasium.register('TrustingPole-v0', entry_point=make, max_episode_steps=9)\n"
        )
        patch.syspath_prepend(tmp_path)
        assert main([*words, '--env.kwargs={"trust_remote_code": true}', f"--output_dir={run}"]) == 0
        assert json.loads((run / "run.json").read_text())["config"]["env"]["kwargs"] == {
            "trust_remote_code": "<not kept>"
        }
        assert main(["resume", str(run)]) == 2
        assert main(["resume", str(run), CONSENT]) == 0


def test_refusing_consent_is_no_consent():
    """Nor is a text that only mentions it."""
    assert not gives_consent({"trust_remote_code": False, "env": {"trust-remote-code": "false"}, "a": "{}"})
    assert not gives_consent({"output_dir": "runs/trust_remote_code", "kwargs": '{"trust_remote_code": false}'})


def test_consent_is_no_difference_between_evaluations():
    """Earlier versions had it in the fingerprint."""
    assert not differing({"env": {"repo": "a", "trust_remote_code": True}}, {"env": {"repo": "a"}})
