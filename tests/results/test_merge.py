"""Which record of an episode counts."""

import itertools

import numpy as np
import pytest
from msgspec import structs

from proctor.errors import MergeError
from proctor.results.journal import read_journal
from proctor.results.journal_records import key_of
from proctor.results.merge import canonical, merge_journals, remaining
from proctor.results.run_dir import RunDirectory
from proctor.types import AttemptError, pack_arrays
from result_samples import FINGERPRINT, SPECS, broken, done, journal_of


def merged(journals):
    return {key: record.result for key, record in merge_journals(journals).items()}


def test_a_later_error_replaces_an_earlier_one(tmp_path):
    """The latest word on why an episode cannot be run counts."""
    results = merged([journal_of(tmp_path, broken(SPECS[0], "first"), broken(SPECS[0], "second"))])

    assert results[key_of(SPECS[0])].errors[0].message == "second"


def test_a_completed_episode_replaces_an_error_and_is_never_replaced(tmp_path):
    """An error that a resume turned into a result is gone; an error after a result changes nothing."""
    for order in itertools.permutations([broken(SPECS[0], "a"), done(SPECS[0]), broken(SPECS[0], "b")]):
        assert merged([journal_of(tmp_path, *order)]) == {key_of(SPECS[0]): done(SPECS[0])}


def test_resume_runs_what_is_missing_and_what_ended_in_an_error(tmp_path):
    """Completed episodes are not run again, whether they succeeded or failed."""
    journal = journal_of(tmp_path, done(SPECS[0]), done(SPECS[1], success=False), broken(SPECS[2]))

    assert remaining(SPECS, merge_journals([journal])) == list(SPECS[2:])


def test_a_run_resumed_from_a_cut_journal_equals_the_whole_one(tmp_path):
    """Whatever a crash left, running the rest gives the same results, each exactly once."""
    with RunDirectory(tmp_path / "whole").open_journal(FINGERPRINT) as writer:
        for spec in SPECS:
            writer.append(done(spec), pack_arrays({"actions": np.zeros((3, 2))}))
    content = (tmp_path / "whole" / "journal.jsonl").read_bytes()
    whole = merged(RunDirectory(tmp_path / "whole").read_journals())
    for size in range(0, len(content), 97):
        run = tmp_path / f"cut{size}"
        run.mkdir()
        (run / "journal.jsonl").write_bytes(content[:size])
        with RunDirectory(run).open_journal(FINGERPRINT) as writer:
            for spec in remaining(SPECS, merge_journals([writer.previous])):
                writer.append(done(spec), pack_arrays({"actions": np.zeros((3, 2))}))

        assert merged(RunDirectory(run).read_journals()) == whole
        assert len(read_journal(run / "journal.jsonl").episodes) == len(SPECS)


def test_the_same_outcome_twice_is_one_episode(tmp_path):
    """Time and failed attempts differ from run to run and are no contradiction."""
    slow = done(SPECS[0], seconds=9, errors=(AttemptError("crashed", "signal 9"),))

    results = merged([journal_of(tmp_path, done(SPECS[0])), journal_of(tmp_path, slow)])

    assert [canonical(result) for result in results.values()] == [canonical(slow)]


@pytest.mark.parametrize(
    "other",
    [
        done(SPECS[0], success=False),
        structs.replace(done(SPECS[0]), sum_reward=7.5),
        structs.replace(done(SPECS[0]), final_state_hash="other"),
        structs.replace(done(SPECS[0]), spec=structs.replace(SPECS[0], seed=7)),
    ],
)
def test_a_contradiction_is_an_error_that_shows_both(tmp_path, other):
    """Two different results of one episode cannot both be right, and no rule says which is."""
    first, second = journal_of(tmp_path / "a", done(SPECS[0])), journal_of(tmp_path / "b", other)

    for journals in ([first, second], [second, first]):
        with pytest.raises(MergeError) as error:
            merge_journals(journals)
        assert error.value.exit_code == 5
        assert str(tmp_path / "a") in str(error.value)
        assert str(tmp_path / "b") in str(error.value)
        assert "sum of rewards 0.25" in str(error.value)


def test_merging_does_not_depend_on_order_and_changes_nothing_twice(tmp_path):
    """Any order of the journals, and any of them again, gives the same records."""
    journals = [
        journal_of(tmp_path, done(SPECS[0]), broken(SPECS[1], "a"), broken(SPECS[2], "a")),
        journal_of(tmp_path, done(SPECS[0], seconds=2), broken(SPECS[1], "b")),
        journal_of(tmp_path, broken(SPECS[0]), done(SPECS[2]), done(SPECS[3])),
    ]
    expected = list(merged(journals).items())

    for order in itertools.permutations(journals):
        assert list(merged(order).items()) == expected
        assert list(merged([*order, *order]).items()) == expected


def test_round_robin_shards_together_are_the_serial_run(tmp_path):
    """The union of all shards is the plan, episode for episode."""
    serial = merged([journal_of(tmp_path, *(done(spec) for spec in SPECS))])

    for n in range(1, 6):
        shards = [journal_of(tmp_path, *(done(spec) for spec in SPECS[k::n])) for k in range(n)]
        assert merged(shards) == serial
