"""``proctor check`` at the terminal."""

from __future__ import annotations

from proctor.cli import main


def test_random_actions_are_exact_and_the_exit_status_says_so(capsys):
    """On a real simulator."""
    status = main(["check", "--policy.type=random", "--env.type=pusht", "--env.episode_length=20", "--episodes=2"])

    out, err = capsys.readouterr()
    assert status == 0, err
    assert "Exactness: bitwise" in out
    assert err.count("2 of 2 episodes equal to the bit") == 4


def test_one_episode_is_not_enough(capsys):
    """It has no neighbour, and no worker beside it that could be killed."""
    assert main(["check", "--policy.type=random", "--env.type=pusht", "--episodes=1"]) == 2
    assert "at least two episodes" in capsys.readouterr().err


def test_what_cannot_be_run_is_one_sentence(capsys):
    """As for eval."""
    assert main(["check", "--policy.type=random", "--env.type=pushed"]) == 2
    assert "Did you mean" in capsys.readouterr().err
