"""What is known of episodes while they run."""

from __future__ import annotations

from proctor.types import Timings


def test_times_add_up():
    """Part by part."""
    total = Timings(1.0, 2.0, 3.0, 4.0, 5.0, 6.0) + Timings(step=1.0)

    assert total == Timings(1.0, 2.0, 4.0, 4.0, 5.0, 6.0)
    assert total.total == 22.0
