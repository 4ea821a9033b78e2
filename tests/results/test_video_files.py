"""Where the videos of a run are."""

from __future__ import annotations

from proctor.results.run_dir import RunDirectory, video_name
from proctor.types import EpisodeSpec


def test_a_video_is_named_after_its_suite_task_and_episode():
    """As LeRobot names it."""
    assert video_name(EpisodeSpec("libero_10", 3, 7, 1007)) == "videos/libero_10_3/eval_episode_7.mp4"


def test_no_suite_leads_out_of_the_folder():
    """Whatever a benchmark calls it."""
    assert video_name(EpisodeSpec("../my suite", 0, 0, 1000)) == "videos/.._my_suite-baaff86a_0/eval_episode_0.mp4"


def test_no_two_suites_share_a_video():
    """Names that differ in what a file name cannot hold, or only behind its end, have videos of their own."""
    suites = ["a b", "a_b", "a/b", "a" * 300, "a" * 301, "語" * 300, "\ud800"]
    names = {video_name(EpisodeSpec(suite, 0, 0, 1000)) for suite in suites}

    assert len(names) == len(suites)
    assert all(len(part.encode("utf-8", "surrogatepass")) < 255 for name in names for part in name.split("/"))


def test_the_folder_says_which_videos_there_are(tmp_path):
    """Those of the episodes asked about, finished ones only, in the order asked."""
    specs = [EpisodeSpec("zoo", task_id, index, 1000 + index) for task_id in (0, 1) for index in range(3)]
    assert RunDirectory(tmp_path).existing_videos(specs) == {}
    for name in (
        "zoo_1/eval_episode_2.mp4",
        "zoo_0/eval_episode_1.mp4",
        "zoo_0/eval_episode_0.mp4.part",
        "zoo_7/x.mp4",
    ):
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    found = RunDirectory(tmp_path).existing_videos(specs)

    assert list(found.items()) == [
        (specs[1], "videos/zoo_0/eval_episode_1.mp4"),
        (specs[5], "videos/zoo_1/eval_episode_2.mp4"),
    ]
