"""The journal survives kills, damage and full disks, and has one writer."""

import json
import os
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import numpy as np
import pytest
from msgspec import structs

from proctor.errors import ConfigError, ResourceError, RunLockedError
from proctor.results import journal_writer, run_dir
from proctor.results.journal import read_actions, read_array, read_journal
from proctor.results.journal_records import ArrayRef, key_of
from proctor.results.lock import FileLock
from proctor.results.run_dir import WHOLE, RunDirectory, Shard
from proctor.types import AttemptError, pack_arrays
from result_samples import FINGERPRINT, SPECS, broken, done

OLD_JOURNAL = Path(__file__).parent.parent / "data" / "journal_v1.jsonl"


def actions_of(spec):
    return np.random.default_rng(spec.seed).normal(size=(5, 2)).astype(np.float32)


def arrays_of(spec):
    return {
        "actions": actions_of(spec),
        "rewards": np.arange(5) + spec.seed / 3,
        "successes": np.array([-1, 0, 0, 1, 1], np.int8),
    }


def packed_of(spec):
    return pack_arrays(arrays_of(spec))


def write(directory, specs, shard=WHOLE, arrays=packed_of):
    files = RunDirectory(directory, shard)
    with files.open_journal(FINGERPRINT) as writer:
        for spec in specs:
            writer.append(done(spec), arrays(spec))
    return files.journal_file


def contents(directory):
    return {name: (directory / name).read_bytes() for name in ("journal.jsonl", "journal.actions.bin")}


def open_files(directory):
    """Those of this process, removed ones too."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.append(link.readlink())
    return [path for path in found if path.is_relative_to(directory)]


def specs_in(journal):
    return [record.result.spec for record in journal.episodes]


def test_what_is_appended_is_read_back(tmp_path):
    """Results, actions and fingerprint come back as they went in, in the order they were written."""
    path = write(tmp_path, SPECS)

    journal = read_journal(path)

    assert [record.result for record in journal.episodes] == [done(spec) for spec in SPECS]
    for record in journal.episodes:
        np.testing.assert_array_equal(read_actions(record), actions_of(record.result.spec))
        for name, array in arrays_of(record.result.spec).items():
            np.testing.assert_array_equal(read_array(record, name), array, strict=True)
        assert read_array(record, "temperatures") is None
    assert journal.header.fingerprint == FINGERPRINT
    assert journal.n_corrupt == 0


def test_a_group_is_written_when_it_is_synced_with_one_write_and_one_sync_of_each_file(tmp_path, monkeypatch):
    """The arrays first; until then nothing is on disk, and no record is there."""
    calls = []
    real_write, real_sync = os.write, journal_writer._sync

    def record(what, real):
        def recorded(fd, *arguments):
            calls.append((what, Path(f"/proc/self/fd/{fd}").readlink().name))
            return real(fd, *arguments)

        return recorded

    with RunDirectory(tmp_path).open_journal(FINGERPRINT) as writer:
        before = contents(tmp_path)
        for spec in SPECS[:4]:
            writer.add(done(spec), packed_of(spec))
        assert contents(tmp_path) == before
        assert (writer.n_episodes, dict(writer.appended)) == (0, {})

        monkeypatch.setattr(os, "write", record("write", real_write))
        monkeypatch.setattr(journal_writer, "_sync", record("sync", real_sync))
        writer.sync()
        writer.sync()  # there is nothing more

        assert (writer.n_episodes, writer.appended[key_of(SPECS[2])].result) == (4, done(SPECS[2]))
    files = ("journal.actions.bin", "journal.jsonl")
    assert calls == [(what, name) for name in files for what in ("write", "sync")]
    grouped = read_journal(tmp_path / "journal.jsonl")
    assert [record.result for record in grouped.episodes] == [done(spec) for spec in SPECS[:4]]
    for found in grouped.episodes:
        np.testing.assert_array_equal(read_array(found, "rewards"), arrays_of(found.result.spec)["rewards"])


def test_every_line_is_valid_json_by_itself(tmp_path):
    """A user's script can read the journal with a JSON parser and nothing else."""
    lines = [json.loads(line) for line in write(tmp_path, SPECS[:2]).read_text().splitlines()]

    assert [line["record"]["kind"] for line in lines] == ["header", "episode", "episode"]
    assert lines[1]["record"]["result"]["spec"]["suite"] == "zoo"


def test_a_journal_that_does_not_exist_is_empty(tmp_path):
    """Reading before anything was written is not an error."""
    journal = read_journal(tmp_path / "journal.jsonl")

    assert (journal.header, journal.episodes, journal.n_corrupt) == (None, (), 0)


def test_an_episode_without_actions_has_none(tmp_path):
    """An errored episode has executed nothing worth keeping; an empty one has an empty array."""
    with RunDirectory(tmp_path).open_journal(FINGERPRINT) as writer:
        writer.append(broken(SPECS[0]), None)
        writer.append(done(SPECS[1]), pack_arrays({"actions": np.zeros((0, 2), np.float32)}))

    without, empty = read_journal(tmp_path / "journal.jsonl").episodes

    assert read_actions(without) is None
    assert read_actions(empty).shape == (0, 2)


def test_the_journal_of_the_first_version_stays_readable(tmp_path):
    """A file written by the first release is read by every later one."""
    journal = read_journal(OLD_JOURNAL)

    assert journal.n_corrupt == 0
    assert journal.header.fingerprint == FINGERPRINT
    assert [record.result.outcome for record in journal.episodes] == ["success", "failure", "error"]
    assert journal.episodes[2].result.errors[0].message == "the arm fell off"
    np.testing.assert_array_equal(read_actions(journal.episodes[0]), actions_of(SPECS[0]))


def test_a_journal_of_a_later_version_is_refused(tmp_path, monkeypatch):
    """What a newer Proctor wrote is not half understood, and certainly not cut."""
    with monkeypatch.context() as later:
        later.setattr(run_dir, "JOURNAL_FORMAT_VERSION", 99)
        path = write(tmp_path, SPECS[:2])
    content = path.read_bytes()

    with pytest.raises(ConfigError, match="format version 99"):
        RunDirectory(tmp_path).open_journal(FINGERPRINT)

    assert path.read_bytes() == content
    assert not (tmp_path / "journal.lock").exists()


def test_every_session_adds_a_header_and_its_time(tmp_path, monkeypatch):
    """A continued run knows how long it took altogether, although no session knew of the other."""
    now = [0.0]
    monkeypatch.setattr(journal_writer, "monotonic", lambda: now[0])
    for spec in SPECS[:2]:
        with RunDirectory(tmp_path).open_journal(FINGERPRINT) as writer:
            now[0] += 30
            writer.append(done(spec), None)
            now[0] += 1000

    journal = read_journal(tmp_path / "journal.jsonl")

    assert len(journal.headers) == 2
    assert journal.wall_s == 60


def test_the_time_of_the_workers_is_that_of_the_largest_number_that_was_there(tmp_path, monkeypatch):
    """Eight were allowed; in the first session there were two in the end, and in the second nobody counted them."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(journal_writer, "monotonic", lambda: clock.now)
    files = RunDirectory(tmp_path)
    for n_counted in ((1, 2), (0, 0)):
        with files.open_journal(FINGERPRINT, 8) as writer:
            for n, spec in zip(n_counted, SPECS, strict=False):
                clock.now += 10
                writer.n_workers = n
                writer.append(done(spec), None)

    assert read_journal(files.journal_file).worker_s == 2 * 20 + 8 * 20


# ------------------------------------------------------------------------------------------------------------ damage


def test_truncation_at_every_byte_keeps_the_whole_lines_and_the_next_append_works(tmp_path):
    """Wherever a kill cut the file, what is whole is kept and the run goes on."""
    content = write(tmp_path / "whole", SPECS[:2], arrays=lambda _: None).read_bytes()
    path = tmp_path / "cut" / "journal.jsonl"
    path.parent.mkdir()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        n_whole = max(content[:size].count(b"\n") - 1, 0)
        assert specs_in(read_journal(path)) == list(SPECS[:n_whole])

        write(path.parent, SPECS[5:6])

        after = read_journal(path)
        assert specs_in(after) == [*SPECS[:n_whole], SPECS[5]]
        assert after.n_corrupt == 0
        (path.parent / "journal.actions.bin").unlink()


def test_a_bit_flip_at_every_byte_costs_one_record(tmp_path):
    """Damage anywhere costs the record it hits (its newline included) and is counted; the others stay."""
    content = write(tmp_path / "whole", SPECS[:3]).read_bytes()
    path = tmp_path / "journal.jsonl"
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        hit = content[:position].count(b"\n")

        journal = read_journal(path)

        expected = [spec for line, spec in enumerate(SPECS[:3], start=1) if line != hit]
        assert specs_in(journal) == expected
        assert len(journal.headers) == (hit != 0)
        assert journal.n_corrupt >= 1 or position == len(content) - 1


def test_after_a_bit_flip_appending_works(tmp_path):
    """A damaged line in the middle stays where it is; a damaged end is cut off."""
    content = write(tmp_path, SPECS[:3]).read_bytes()
    path = tmp_path / "journal.jsonl"
    for position in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        before = specs_in(read_journal(path))

        write(tmp_path, SPECS[5:6])

        assert specs_in(read_journal(path)) == [*before, SPECS[5]]


@pytest.mark.parametrize(
    "content", [b"dear diary\n", b"dear diary, " * 1000, b'{"crc32":"00000000","record":{}}\n', b"\x00\x01"]
)
def test_a_file_that_is_no_journal_is_not_emptied(tmp_path, content):
    """It may be somebody else's; the refusal leaves every byte, and no lock."""
    (tmp_path / "journal.jsonl").write_bytes(content)

    with pytest.raises(ConfigError, match="holds no intact line of a journal"):
        write(tmp_path, SPECS[:1])

    assert (tmp_path / "journal.jsonl").read_bytes() == content
    assert not (tmp_path / "journal.lock").exists()


@pytest.mark.parametrize("name", ["journal.jsonl", "journal.actions.bin", "journal.lock"])
def test_a_link_is_not_followed(tmp_path, name):
    """It would have another file cut, overwritten or appended to."""
    other = tmp_path / "other"
    other.write_bytes(b"" if name == "journal.jsonl" else b"somebody's")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(other)

    with pytest.raises(ResourceError, match="is a symbolic link, which is not followed; remove it"):
        write(tmp_path / "run", SPECS[:1])

    assert other.read_bytes() == (b"" if name == "journal.jsonl" else b"somebody's")


@pytest.mark.parametrize("tail", [b"\0" * 5000, b'{"crc32":"', b"\n\n\n", b"\xff\xfe garbage \n more", b'{"a":1}\n'])
def test_a_tail_of_garbage_is_cut_before_the_next_append(tmp_path, tail):
    """A power cut leaves zeros or anything at all; nothing is appended behind it."""
    path = write(tmp_path, SPECS[:2])
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    assert specs_in(read_journal(path)) == list(SPECS[:2])

    write(tmp_path, SPECS[2:3])

    assert path.read_bytes().startswith(whole + b'{"crc32"')
    assert specs_in(read_journal(path)) == list(SPECS[:3])


def test_random_bytes_never_raise(tmp_path):
    """A reader of garbage finds nothing and says so."""
    path = tmp_path / "journal.jsonl"
    random = np.random.default_rng(0)
    for _ in range(50):
        path.write_bytes(random.bytes(2000))

        journal = read_journal(path)

        assert journal.episodes == ()
        assert journal.n_corrupt > 0


def test_actions_that_are_damaged_are_not_replayed(tmp_path):
    """A flipped bit, a shortened file and a reference to nonsense are told, the result itself stays."""
    record = read_journal(write(tmp_path, SPECS[:1])).episodes[0]
    file = tmp_path / "journal.actions.bin"
    content = bytearray(file.read_bytes())
    content[7] ^= 1
    file.write_bytes(content)

    with pytest.raises(ConfigError, match="checksum"):
        read_actions(record)
    for fields in (
        {"shape": (10**9, 10**9)},
        {"offset": -4},
        {"dtype": "O"},
        {"dtype": "nonsense"},
        {"shape": (-1, 2)},
    ):
        ref = ArrayRef(**{"offset": 0, "shape": (5, 2), "dtype": "<f4", "crc32": 0} | fields)
        with pytest.raises(ConfigError, match="cannot be replayed"):
            read_actions(SimpleNamespace(arrays={"actions": ref}, actions_file=file))


def test_an_error_message_that_is_no_valid_text_is_kept(tmp_path):
    """A traceback may quote a file name that is not UTF-8; that must not cost the run."""
    odd = structs.replace(done(SPECS[0]), errors=(AttemptError("raised", "no such file: \udcff", "\udcff"),))
    with RunDirectory(tmp_path).open_journal(FINGERPRINT) as writer:
        writer.append(odd, None)

    (record,) = read_journal(tmp_path / "journal.jsonl").episodes

    assert record.result.errors[0].message == "no such file: ?"


# --------------------------------------------------------------------------------------------------------- full disk


def limit_disk(monkeypatch, room):
    """Let only ``room`` more bytes be written; returns the list of the bytes that are left."""
    left = [room]
    real_write = os.write

    def full_disk(fd, data):
        if left[0] == 0:
            raise OSError(28, "No space left on device")
        n = real_write(fd, bytes(data)[: left[0]])
        left[0] -= n
        return n

    monkeypatch.setattr(os, "write", full_disk)
    return left


# An append is 85 bytes of arrays and a line of about 700: every kind of place to run out, in either file.
@pytest.mark.parametrize("room", range(0, 740, 20))
def test_a_disk_that_fills_up_leaves_whole_records(tmp_path, monkeypatch, room):
    """The last write is short without an error, then errors come: both files end as they were before the episode."""
    writer = RunDirectory(tmp_path).open_journal(FINGERPRINT)
    writer.append(done(SPECS[0]), packed_of(SPECS[0]))
    before = contents(tmp_path)

    with monkeypatch.context() as full:
        left = limit_disk(full, room)
        with pytest.raises(ResourceError, match=r"No space left.*Episodes kept: 1\.") as error:
            writer.append(done(SPECS[1]), packed_of(SPECS[1]))
    assert error.value.hint.endswith(f"proctor resume {tmp_path}")
    assert contents(tmp_path) == before
    assert left == [0]

    writer.append(done(SPECS[2]), packed_of(SPECS[2]))  # somebody made room
    writer.close()
    last = read_journal(tmp_path / "journal.jsonl").episodes[-1]
    np.testing.assert_array_equal(read_actions(last), actions_of(SPECS[2]))


@pytest.mark.parametrize("room", range(0, 2300, 100))
def test_a_disk_that_fills_up_in_a_group_leaves_what_was_before_the_group(tmp_path, monkeypatch, room):
    """Three episodes of 85 bytes of arrays and a line of about 700 each: the disk is full in either file."""
    writer = RunDirectory(tmp_path).open_journal(FINGERPRINT)
    writer.append(done(SPECS[0]), packed_of(SPECS[0]))
    before = contents(tmp_path)

    with monkeypatch.context() as full:
        left = limit_disk(full, room)
        for spec in SPECS[1:4]:
            writer.add(done(spec), packed_of(spec))
        with pytest.raises(ResourceError, match=r"No space left.*Episodes kept: 1\."):
            writer.sync()
    assert contents(tmp_path) == before
    assert left == [0]
    assert list(writer.appended) == [key_of(SPECS[0])]

    writer.append(done(SPECS[4]), packed_of(SPECS[4]))  # somebody made room; the group was dropped
    writer.close()
    records = read_journal(tmp_path / "journal.jsonl").episodes
    assert [record.result.spec for record in records] == [SPECS[0], SPECS[4]]
    np.testing.assert_array_equal(read_actions(records[-1]), actions_of(SPECS[4]))


def test_what_is_added_while_a_disk_fills_up_is_dropped_too(tmp_path, monkeypatch):
    """It would lie behind a group that is not there. The lines are written once the next episode was added."""
    writer, added = RunDirectory(tmp_path).open_journal(FINGERPRINT), Event()
    writer.append(done(SPECS[0]), packed_of(SPECS[0]))
    before, real_write = contents(tmp_path), os.write

    def full_disk(fd, data):
        added.wait(60)
        if len(data) > 300:  # no array is as long as a line
            raise OSError(28, "No space left on device")
        return real_write(fd, data)

    with monkeypatch.context() as full:
        full.setattr(os, "write", full_disk)
        writer.add(done(SPECS[1]), packed_of(SPECS[1]))
        writer.begin_sync()
        writer.add(done(SPECS[2]), packed_of(SPECS[2]))
        assert writer.is_syncing
        added.set()
        with pytest.raises(ResourceError, match="No space left"):
            writer.end_sync()
    assert contents(tmp_path) == before

    writer.append(done(SPECS[3]), packed_of(SPECS[3]))
    writer.close()
    records = read_journal(tmp_path / "journal.jsonl").episodes
    assert [record.result.spec for record in records] == [SPECS[0], SPECS[3]]
    np.testing.assert_array_equal(read_actions(records[-1]), actions_of(SPECS[3]))


def test_a_real_limit_of_the_operating_system_is_met_the_same_way(tmp_path):
    """With a limit on file size the kernel itself writes short, then refuses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with RunDirectory(tmp_path).open_journal(FINGERPRINT) as writer:
        for spec in SPECS[:4]:
            writer.append(done(spec), packed_of(spec))
        before = contents(tmp_path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before["journal.jsonl"]) + 200, hard))
        try:
            with pytest.raises(ResourceError, match=r"File too large.*Episodes kept: 4"):
                writer.append(done(SPECS[4]), packed_of(SPECS[4]))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert contents(tmp_path) == before


def test_a_directory_that_cannot_be_made_is_reported_in_a_sentence(tmp_path):
    """An output directory below a file is the user's mistake, not a traceback."""
    (tmp_path / "file").write_text("")

    with pytest.raises(ResourceError, match="cannot be written to"):
        RunDirectory(tmp_path / "file" / "run").open_journal(FINGERPRINT)


# --------------------------------------------------------------------------------------------------------- one writer

HOLDER = """
import sys, time
from pathlib import Path
from proctor.results.run_dir import RunDirectory, Shard
writer = RunDirectory(Path(sys.argv[1]), Shard(0, 2)).open_journal({})
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_process_learns_who_writes_until_that_one_is_killed(tmp_path):
    """The lock names its holder, and dies with it even by SIGKILL."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunLockedError, match=rf"process {holder.pid} on \S+, since 20") as refused:
            RunDirectory(tmp_path, Shard(0, 2)).open_journal(FINGERPRINT)
        assert "\n" not in str(refused.value)
        with RunDirectory(tmp_path, Shard(1, 2)).open_journal(FINGERPRINT):
            pass  # another shard is another journal
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()

    write(tmp_path, SPECS[:1], Shard(0, 2))

    assert not list(tmp_path.glob("*.lock"))


def test_the_same_process_cannot_open_it_twice(tmp_path):
    """File locks do not hold against their own process; this one does."""
    with RunDirectory(tmp_path).open_journal(FINGERPRINT) as writer:
        with pytest.raises(RunLockedError, match="this very process"):
            RunDirectory(tmp_path).open_journal(FINGERPRINT)
        writer.append(done(SPECS[0]), None)

    write(tmp_path, SPECS[1:2])

    assert len(read_journal(tmp_path / "journal.jsonl").episodes) == 2


def test_a_lock_whose_file_was_removed_meanwhile_is_taken_anew(tmp_path, monkeypatch):
    """Between our open and our lock the holder may finish and remove the file: then ours would guard nothing."""
    real_is_current, calls = FileLock._is_current, []

    def removed_once(lock, fd):
        if not calls:
            lock.path.unlink()
        calls.append(fd)
        return real_is_current(lock, fd)

    monkeypatch.setattr(FileLock, "_is_current", removed_once)
    with FileLock(tmp_path / "journal.lock"):
        assert (tmp_path / "journal.lock").read_text().startswith(f"{os.getpid()} ")
        assert len(calls) == 2


def test_no_descriptor_and_no_lock_is_left_when_opening_fails(tmp_path, monkeypatch):
    """A failed start leaves the directory to the next one."""
    monkeypatch.setattr(journal_writer, "sync_directory", lambda _: (_ for _ in ()).throw(OSError(5, "I/O error")))

    with pytest.raises(ResourceError, match="I/O error"):
        RunDirectory(tmp_path).open_journal(FINGERPRINT)

    assert not open_files(tmp_path)
    assert not (tmp_path / "journal.lock").exists()


def test_shards_are_read_together(tmp_path):
    """A directory with the journals of several shards gives all of them, in a fixed order."""
    write(tmp_path, SPECS[1::2], Shard(1, 2))
    write(tmp_path, SPECS[0::2], Shard(0, 2))

    first, second = RunDirectory(tmp_path).read_journals()

    assert specs_in(first) == list(SPECS[0::2])
    assert specs_in(second) == list(SPECS[1::2])
