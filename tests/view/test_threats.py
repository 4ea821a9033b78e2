"""What a server on loopback has to withstand: other people's pages, other people's folders."""

from __future__ import annotations

import json
import os
import re
import shutil
from urllib.parse import quote

import pytest
from served_runs import STORED, ask, viewing

from proctor.cli import main
from proctor.errors import ConfigError
from proctor.view import Viewer
from proctor.view.folder import RunFolder


def run_ids(viewer):
    """The ids of the index by the runs' names."""
    found = re.findall(r'value="(\w+)" aria-label="Compare ([^"]+)"', ask(viewer, "/").text)
    return {name: run_id for run_id, name in found}


def token_of(viewer, run_id):
    return re.search(r'data-token="([^"]+)"', ask(viewer, f"/runs/{run_id}").text)[1]


@pytest.fixture(scope="module")
def fake(viewer):
    return run_ids(viewer)["2026-11-21/fake"]


@pytest.fixture(scope="module")
def token(viewer, fake):
    return token_of(viewer, fake)


EPISODE = json.dumps({"suite": "fake", "task_id": 0, "episode": 2}).encode()


# ------------------------------------------------------------------------------------------------- who may ask


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_the_server_s_own_names_are_answered(viewer, host):
    """With its port."""
    assert ask(viewer, "/", host=f"{host}:{viewer.port}").status == 200


@pytest.mark.parametrize("path", ["/", "/runs/x", "/events?run=x", "/nowhere"])
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.:{port}", ""]
)
def test_another_name_that_was_made_to_point_here_is_refused(viewer, path, host):
    """DNS rebinding: the browser sends the name it was told."""
    answer = ask(viewer, path, host=host.format(port=viewer.port))

    assert answer.status == 421
    assert "fake" not in answer.text


def test_two_names_are_refused(viewer):
    """Whichever somebody behind would believe."""
    assert ask(viewer, "/", host=[f"127.0.0.1:{viewer.port}", "evil.example"]).status in (400, 421)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1"])
def test_a_page_from_elsewhere_is_refused(viewer, fake, token, origin):
    """Also one of another server on this machine; also if it had the token."""
    origin = origin.format(port=viewer.port)

    assert ask(viewer, "/", origin=origin).status == 403
    assert ask(viewer, f"/runs/{fake}/replays", "POST", EPISODE, origin=origin, x_proctor_token=token).status == 403


@pytest.mark.parametrize("given", [None, "", "guess", "é"])
def test_a_video_is_made_for_pages_of_this_server_only(viewer, fake, given):
    """They know the token of this process."""
    headers = {} if given is None else {"x_proctor_token": given}

    answer = ask(viewer, f"/runs/{fake}/replays", "POST", EPISODE, **headers)
    assert (answer.status, answer.text) == (403, "The request does not carry the token of this server's pages.")


def test_the_token_is_another_in_every_process(fake, token, folder):
    """And long."""
    with viewing(folder) as another:
        assert token_of(another, fake) != token
    assert len(token) >= 43


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "POST", "TRACE"])
def test_pages_are_read_and_nothing_else(viewer, fake, token, method):
    """Even by who has the token."""
    for path in ("/", f"/runs/{fake}", f"/runs/{fake}/episodes/0/0/video"):
        assert ask(viewer, path, method).status == 403
        assert ask(viewer, path, method, x_proctor_token=token).status == 405


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "example.org", ""])
def test_only_this_machine_s_own_address_is_bound(tmp_path, capsys, host):
    """Anything else is refused in a sentence that says how to look from elsewhere."""
    assert main(["view", str(tmp_path), f"--host={host}", "--port=0"]) == 2
    assert "ssh -L" in capsys.readouterr().err


def test_a_port_that_is_taken_and_a_folder_that_is_none_are_sentences(viewer, folder):
    """What to do about it."""
    with pytest.raises(ConfigError, match=f"Port {viewer.port} cannot be used: Address already in use; give --port=0"):
        Viewer(folder, port=viewer.port)
    with pytest.raises(ConfigError, match="--port is 99999; it must be between 1 and 65535"):
        Viewer(folder, port=99999)
    with pytest.raises(ConfigError, match="is not a folder"):
        Viewer(folder / "nowhere")


# ------------------------------------------------------------------------------------------------- what is given


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.mp4",
        "/runs/../../secret.mp4",
        "/runs/..%2f..%2fsecret.mp4",
        "/runs/%2e%2e",
        "/static/../../etc/passwd",
        "//etc/passwd",
        "/runs/{fake}/../../secret.mp4",
        "/runs/{fake}/episodes/0/..%2f..%2f..%2fsecret.mp4/video",
        "/runs/{fake}/episodes/0/-1/video",
        "/runs/{fake}/episodes/99/0/video",
        "/runs/{fake}/episodes/0/99/video",
        "/runs/{fake}/episodes/0/99999999999999999999999999/video",
        "/runs/{fake}/episodes/0/2/video",
        "/runs/{fake}/episodes/-1/0/trace",
        "/runs/{fake}/episodes/0/99999999999999999999999999/trace",
        "/runs/{fake}/episodes/0/..%2f..%2fsecret/trace",
        "/runs/{fake}/run.json",
        "/runs/2026-11-21%2ffake",
        "/events?run=..",
    ],
)
def test_no_path_leads_to_a_file(viewer, fake, path):
    """Runs and episodes are looked up by number; what is not there is a sentence."""
    answer = ask(viewer, path.format(fake=fake))

    assert answer.status == 404
    assert b"nobody may see" not in answer.body
    assert "Traceback" not in answer.text


def test_links_out_of_the_folder_are_not_followed(tmp_path, folder):
    """Neither to a run, nor from within one, nor from a video."""
    runs = tmp_path / "runs"
    shutil.copytree(folder / "2026-11-21" / "fake", runs / "video")
    shutil.copytree(STORED, runs / "file")
    shutil.copytree(STORED, tmp_path / "elsewhere")
    (runs / "away").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "secret").write_text("nobody may see this")
    (runs / "file" / "run.json").unlink()
    (runs / "file" / "run.json").symlink_to(tmp_path / "elsewhere" / "run.json")
    video = next((runs / "video").rglob("*_0/eval_episode_0.mp4"))
    video.unlink()
    video.symlink_to(tmp_path / "secret")

    with viewing(runs) as viewer:
        index, ids = ask(viewer, "/").text, run_ids(viewer)
        answer = ask(viewer, f"/runs/{ids['video']}/episodes/0/0/video")
        refused = ask(viewer, f"/runs/{RunFolder(runs)._id(runs / 'file')}")

    assert set(ids) == {"video"}
    assert "away" not in index
    assert "file is not shown: its run.json is a link out of the folder." in index
    assert (answer.status, b"nobody" in answer.body) == (404, False)
    assert (refused.status, "is a link out of the folder" in refused.text) == (409, True)


def test_every_answer_says_what_may_be_done_with_it(viewer, fake):
    """Nothing by others, no script but ours, no guessing of types, no cache."""
    for path in ("/", f"/runs/{fake}", f"/runs/{fake}/episodes/0/0/video", "/nowhere", f"/events?run={fake}"):
        headers = ask(viewer, path).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))

        assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


@pytest.mark.parametrize("name", ["run.json", "journal.jsonl", "journal.lock", "eval_info.json"])
def test_what_is_no_file_is_not_waited_for(tmp_path, name):
    """A pipe that nobody writes to would be read for ever."""
    shutil.copytree(STORED, tmp_path / "run")
    (tmp_path / "run" / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / "run" / name)

    with viewing(tmp_path) as viewer:
        assert f"run is not shown: its {name} is neither file nor folder." in ask(viewer, "/").text


HOSTILE = "</script><img src=x onerror=alert(1)>\"' onmouseover=x {{7*7}}"


def test_what_simulators_and_folders_are_called_is_text(tmp_path):
    """On the index, in a report, in a sentence."""
    run = tmp_path / "a<b>&\"'c"
    shutil.copytree(STORED, run)
    content = json.loads((run / "run.json").read_bytes())
    content["config"]["env"]["task"] = content["config"]["policy"]["path"] = HOSTILE
    content["plan"][0]["task"]["name"] = content["plan"][0]["task"]["instruction"] = HOSTILE
    (run / "run.json").write_text(json.dumps(content))

    with viewing(tmp_path) as viewer:
        index = ask(viewer, "/").text
        (run_id,) = re.findall(r'value="(\w+)" aria-label', index)
        report = ask(viewer, f"/runs/{run_id}").text
        sentence = ask(viewer, f"/runs/{run_id}/episodes/0/0/video").text

    assert "&lt;/script&gt;&lt;img src=x" in index
    assert "&lt;/script&gt;&lt;img src=x" in report
    assert "\\u003c/script\\u003e\\u003cimg src=x" in report
    for page in (index, report, sentence):
        assert "<img" not in page
        assert "a<b>" not in page
        assert "\"' onmouseover" not in page


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"suite":"fake","task_id":0,"episode":0,"path":"/etc"}', b"\xff"]
)
def test_a_request_for_a_video_names_an_episode(viewer, fake, token, body):
    """And nothing else."""
    assert ask(viewer, f"/runs/{fake}/replays", "POST", body, x_proctor_token=token).status == 400


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"suite":"fake","task_id":7,"episode":0}', 404),
        (b'{"suite":"../..","task_id":0,"episode":0}', 404),
        (b" " * 5000, 413),
    ],
)
def test_what_is_not_in_the_plan_is_not_run(viewer, fake, token, body, status):
    """Nor is much read of who sends much."""
    answer = ask(viewer, f"/runs/{fake}/replays", "POST", body, x_proctor_token=token)
    assert answer.status == status


# --------------------------------------------------------------------------------------------------------- videos


@pytest.fixture(scope="module")
def video(viewer, fake, folder):
    """The address of a video, and its bytes."""
    (path,) = (folder / "2026-11-21" / "fake").glob("videos/*_0/eval_episode_0.mp4")
    return f"/runs/{fake}/episodes/0/0/video", path.read_bytes()


def test_a_video_is_given_whole(viewer, video):
    """With its type and size; or only these."""
    address, content = video

    whole, head = ask(viewer, address), ask(viewer, address, "HEAD")
    assert (whole.status, whole.body, whole.headers["content-type"]) == (200, content, "video/mp4")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(content)))
    assert whole.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize(
    ("asked", "part"), [("0-99", slice(0, 100)), ("100-", slice(100, None)), ("-50", slice(-50, None))]
)
def test_a_range_of_it_is_given(viewer, video, asked, part):
    """As a player seeks."""
    address, content = video
    n = len(content)
    start, stop, _ = part.indices(n)

    answer = ask(viewer, address, range=f"bytes={asked}")
    assert (answer.status, answer.body) == (206, content[part])
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{n}"


@pytest.mark.parametrize(
    "asked", ["bytes=9999999-", "bytes=0-1,3-4", "bytes=5-2", "bytes=", "lines=1-2", "bytes=a-b", "bytes=-0"]
)
def test_any_other_range_is_not(viewer, video, asked):
    """Several at once have been used to keep servers busy."""
    address, content = video

    answer = ask(viewer, address, range=asked)
    assert answer.status == 416
    assert answer.headers["content-range"] == f"bytes */{len(content)}"


def test_the_environment_does_not_make_the_server_trust_others(monkeypatch, folder):
    """As a proxy's headers are believed where a variable says so."""
    monkeypatch.setitem(os.environ, "FORWARDED_ALLOW_IPS", "*")
    with viewing(folder) as viewer:
        answer = ask(viewer, "/", host="evil.example", x_forwarded_host=f"127.0.0.1:{viewer.port}")

    assert answer.status == 421


@pytest.mark.parametrize("number", ["9" * 6000, "-1", "1x", "٣"])
def test_a_number_that_is_none_is_an_episode_that_does_not_exist(viewer, fake, number):
    for path in (f"{quote(number)}/0/video", f"0/{quote(number)}/trace"):
        assert ask(viewer, f"/runs/{fake}/episodes/{path}").status == 404


def test_a_sweep_with_control_characters_has_a_page(tmp_path):
    """Its drawing is XML, which cannot hold them."""
    row = {"run_dir": "a", "status": "done", "pc_success": 50.0, "pc_success_interval": [10.0, 90.0]}
    rows = [
        {**row, "series": series, "step": step, "n_episodes": 2, "n_successes": 1}
        for series in ("a\x1b[31m\x00", "b")
        for step in (1, 2)
    ]
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sweep.json").write_text(json.dumps({"checkpoints": rows}))

    with viewing(tmp_path) as viewer:
        sweep = re.findall(r"/sweeps/\w+", ask(viewer, "/").text)[0]
        assert ask(viewer, sweep).status == 200
