"""A run as the Hugging Face Hub shows it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import proctor
from proctor.cli import main
from proctor.errors import ConfigError, MergeError
from proctor.reports.hub import HubResults, PushError, push_hub_results, write_hub_results
from proctor.results.summary import summarize
from proctor.testing.fakes import FAKE_BENCHMARK
from proctor.types import EpisodeResult, Outcome
from result_samples import SPECS, TASKS, broken, done, run_info

RUN = run_info(policy={"type": "act"}, env={"type": "zoo"}, eval={}, seed=1000)
RESULTS = [done(spec, success=spec.episode_index > 0) for spec in SPECS]


def results_of(results=RESULTS, dataset="zoo-keepers/zoo"):
    return HubResults(RUN, summarize(TASKS, SPECS, results), dataset)


def test_the_file_is_what_the_hubs_own_library_reads():
    """An entry for each suite, with all that a reader needs to compare."""
    hub = pytest.importorskip("huggingface_hub")
    if not hasattr(hub, "parse_eval_result_entries"):
        pytest.skip("this version of huggingface_hub has no reader of evaluation results")

    entries = hub.parse_eval_result_entries(yaml.safe_load(results_of().yaml()))

    assert [(entry.dataset_id, entry.task_id, entry.value) for entry in entries] == [
        ("zoo-keepers/zoo", "zoo", 75.0),
        ("zoo-keepers/zoo", "attic", 75.0),
    ]
    assert entries[0].date == "2026-01-01T00:00:00+00:00"
    assert "6 of 8 episodes; 95% interval 40.3 … 94.4; n_action_steps 8; seed 1000" in entries[0].notes
    assert hub.eval_result_entries_to_yaml(entries) == yaml.safe_load(results_of().yaml())


def test_both_files_are_written_beside_the_checkpoint(tmp_path):
    """What the card said before stays, and a second export replaces its own section only."""
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# My policy\n")

    write_hub_results(results_of(), tmp_path)
    write_hub_results(results_of(dataset="other/attic"), tmp_path)
    paths = write_hub_results(results_of(), tmp_path)

    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [".eval_results/zoo.yaml", "README.md"]
    card = (tmp_path / "README.md").read_text()
    assert card.startswith("---\nlicense: mit\n---\n# My policy\n\n<!-- evaluation on zoo-keepers/zoo: begin -->\n")
    assert card.count("## Evaluation on zoo-keepers/zoo") == card.count("## Evaluation on other/attic") == 1
    assert "| zoo | feed-lion | 3/4 |" in card


@pytest.mark.parametrize(
    ("results", "error", "reason"),
    [
        (RESULTS[:-1], MergeError, "1 of 12 planned episodes are missing"),
        ([*RESULTS[:-1], broken(SPECS[-1])], ConfigError, "1 episode could not be run"),
        ([EpisodeResult(s, Outcome.of_completed(None), 1.0, 1.0, 9) for s in SPECS], ConfigError, "no success rate"),
    ],
)
def test_what_is_not_measured_is_not_published(results, error, reason):
    """A page of the Hub has no room for doubts."""
    with pytest.raises(error, match=reason):
        results_of(results)


@pytest.mark.parametrize("dataset", ["zoo", "a/b/c", "../zoo", "user/", "user/..%2f", ""])
def test_a_data_set_has_the_hubs_form(dataset):
    """It becomes the name of a file."""
    with pytest.raises(ConfigError, match="USER/NAME"):
        results_of(dataset=dataset)


class FakeHub:
    """A repository with a card; keeps what is committed."""

    def __init__(self, folder: Path):
        self.folder, self.committed = folder, {}

    def hf_hub_download(self, repository, name):
        return self.folder / name

    def create_commit(self, repository, operations, commit_message):
        self.committed = {operation.path_in_repo: operation.path_or_fileobj.decode() for operation in operations}
        return SimpleNamespace(commit_url=f"hub/{repository}/commit/1")


def test_a_push_is_one_commit_with_the_card_of_the_repository(tmp_path, monkeypatch):
    """Not with the one beside the checkpoint."""
    (tmp_path / "README.md").write_text("# On the Hub\n")
    hub = FakeHub(tmp_path)
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: hub)

    assert push_hub_results(results_of(), "me/policy") == "hub/me/policy/commit/1"

    assert hub.committed.keys() == {".eval_results/zoo.yaml", "README.md"}
    assert hub.committed["README.md"].startswith("# On the Hub\n\n<!-- evaluation on")


def test_a_hub_that_refuses_is_one_sentence(tmp_path, monkeypatch):
    """With its reason."""
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: FakeHub(tmp_path))

    with pytest.raises(PushError, match="The Hub did not take the results for me/policy: "):
        push_hub_results(results_of(), "me/policy")


def test_the_command_writes_where_it_is_told_and_pushes_only_if_asked(tmp_path, capsys, monkeypatch):
    """A policy that is not a checkpoint needs a directory."""
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: pytest.fail("nothing may be sent"))
    run = proctor.evaluate(
        {"type": "expert"}, {"type": FAKE_BENCHMARK}, output_dir=tmp_path / "run", n_episodes=2, use_async_envs=False
    )
    command = ["export", str(run.directory), "--format=hub"]

    assert main(command) == 2
    assert "--format=hub needs --dataset" in capsys.readouterr().err
    assert main([*command, "--dataset=zoo-keepers/zoo"]) == 2
    assert "give a directory as --output" in capsys.readouterr().err
    assert main([*command, "--dataset=zoo-keepers/zoo", f"--output={tmp_path / 'page'}"]) == 0
    assert (tmp_path / "page" / ".eval_results" / "zoo.yaml").exists()
    assert main(["export", str(run.directory), "--push=me/policy"]) == 2
    assert "--push is for --format=hub" in capsys.readouterr().err
