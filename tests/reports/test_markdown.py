"""Runs and comparisons as Markdown."""

from dataclasses import replace

from proctor.reports.markdown import comparison_markdown, escaped, run_markdown
from proctor.results.compare import compare
from proctor.results.measured import read_measured
from proctor.results.summary import summarize
from result_samples import SPECS, TASKS, broken, done, run_info

RUN = run_info(policy={"type": "expert"}, env={"type": "zoo"}, eval={}, seed=1000)


def test_a_run_is_a_headline_and_a_table():
    """Every row has as many cells as the header."""
    text = run_markdown(RUN, summarize(TASKS, SPECS, [done(spec, success=spec.episode_index > 0) for spec in SPECS]))

    lines = text.splitlines()
    assert lines[0] == "### zoo · expert · seed 1000 · 2026-01-01T00:00:00+00:00"
    assert "Success rate 75.0 %  (95% interval" in text
    table = lines[lines.index("| suite | task | success | rate | 95% interval | reward | steps |") :]
    assert table[1] == "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    assert table[2] == "| zoo | feed-lion | 3/4 | 75.0 % | 30.1 … 95.4 | 1.75 | 11.5 |"
    assert len(table) == 2 + len(TASKS)


def test_errors_have_a_column_of_their_own():
    """And the first of them is quoted."""
    text = run_markdown(RUN, summarize(TASKS, SPECS, [*map(done, SPECS[:-1]), broken(SPECS[-1])]))

    assert "| reward | steps | errors |" in text
    assert "First error: attic/0 episode 3 (seed 1003): raised: the arm fell off" in text
    assert text.endswith(" | 1 |\n")


def test_foreign_names_stay_in_their_cell():
    """A name is neither a column, nor a link, nor HTML, nor a new line."""
    task = replace(TASKS[0], name="a|b\n<img src=x> [l](u) `c` **d** \\| &amp;")

    text = run_markdown(RUN, summarize((task, *TASKS[1:]), SPECS, map(done, SPECS)))

    (row,) = (line for line in text.splitlines() if "img src" in line)
    assert r"| a\|b�\<img src=x\> \[l\](u) \`c\` \*\*d\*\* \\\| \&amp; |" in row


def test_every_character_is_shown_as_it_is():
    """Plain words stay plain."""
    assert escaped("reach-v3, 75.0 % (0.1 … 0.9)") == "reach-v3, 75.0 % (0.1 … 0.9)"


def test_a_comparison_ends_in_its_verdict(tmp_path):
    """With the rows that the terminal prints."""
    from proctor import evaluate
    from proctor.testing.fakes import FAKE_BENCHMARK

    env = {"type": FAKE_BENCHMARK, "max_steps": 12}
    for policy in ("expert", "random"):
        evaluate({"type": policy}, env, n_episodes=10, use_async_envs=False, output_dir=tmp_path / policy)
    compared = compare([read_measured(tmp_path / "expert"), read_measured(tmp_path / "random")])

    text = comparison_markdown(compared, [["They differ in colour."]])

    assert text.startswith("**A** ")
    assert "Note: They differ in colour." in text
    assert "**B is worse than A: " in text
    assert "| task | A | B | points | adj. interval | adj. p | verdict |" in text
    assert "| all tasks | 20/20 |" in text
    assert len({line.count("|") for line in text.splitlines() if line.startswith("| ")}) == 1
