"""Files are written whole or not at all, and nothing else is touched."""

from __future__ import annotations

import msgspec
import pytest

from proctor.errors import ResourceError
from proctor.machine.files import open_log
from proctor.results.files import remove_leftovers, replacing, write_json


def test_what_a_killed_process_left_is_removed_by_the_next_writer(tmp_path):
    """Only what belongs to its own files, which nobody else may write."""
    for name in (".run.json.17.tmp", ".run.json.99999.tmp", ".other.json.17.tmp", "run.json.17.tmp", ".run.json.tmp"):
        (tmp_path / name).write_text("{")

    remove_leftovers(tmp_path / "run.json")

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".other.json.17.tmp",
        ".run.json.tmp",
        "run.json.17.tmp",
    ]


def test_a_temporary_file_that_is_a_link_is_not_written_through(tmp_path, monkeypatch):
    """Somebody may have guessed its name."""
    monkeypatch.setattr("os.getpid", lambda: 17)
    (tmp_path / "other").write_text("somebody's")
    (tmp_path / ".run.json.17.tmp").symlink_to(tmp_path / "other")

    write_json(tmp_path / "run.json", {"a": 1})

    assert (tmp_path / "other").read_text() == "somebody's"
    assert not (tmp_path / "run.json").is_symlink()


def test_what_was_there_stays_if_the_new_file_cannot_be_written(tmp_path):
    path = tmp_path / "run.json"
    write_json(path, {"a": 1})
    before = path.read_bytes()

    def fill_the_disk():
        with replacing(path) as file:
            file.write(b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises(ResourceError, match="cannot be written"):
        fill_the_disk()

    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["run.json"]


def test_a_log_that_is_a_link_is_refused(tmp_path):
    """Its target would be appended to."""
    (tmp_path / "other").write_text("somebody's")
    (tmp_path / "worker.log").symlink_to(tmp_path / "other")

    with pytest.raises(OSError, match="symbolic link"):
        open_log(tmp_path / "worker.log")


@pytest.mark.parametrize("n", [0, 1, 2, 3000])
def test_an_iterator_is_written_as_the_array_of_its_elements(tmp_path, n):
    """However many parts the array is written in, the bytes are those of the whole, laid out at once."""
    elements = [{"n": number, "text": "line\nbreak [1, 2]", "nested": [{}, [], [number]]} for number in range(n)]

    write_json(tmp_path / "parts.json", {"before": {}, "elements": iter(elements), "after": []})

    whole = msgspec.json.format(msgspec.json.encode({"before": {}, "elements": elements, "after": []}), indent=2)
    assert (tmp_path / "parts.json").read_bytes() == whole + b"\n"
