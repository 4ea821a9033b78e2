"""Intervals of the mean of several tasks' success rates, in which every task has the same weight.

The mean is treated as one rate of an *effective number of episodes*: as many as would give one rate the variance that
the mean has. If all tasks have the same rate and the same number of episodes, that is about the number of episodes
there are. It is larger if the tasks' rates differ, because episodes then vary less within tasks than in one pool. It is
smaller if some tasks have few episodes, because those tasks weigh as much as the others. docs/statistics.md has the
formulae, their sources, and how often the interval contains the mean.

The functions take arrays, so that ``bench/interval_coverage.py`` and the tests simulate exactly what is reported.
"""

from __future__ import annotations

import numpy as np

from proctor.statistics.intervals import LEVEL, z_score
from proctor.types import Array

_BORROWED, _BORROWED_BY_ALL = 1, 4
"""Episodes that each task's variance borrows from the pool, and that all tasks borrow together: five successes of five
do not prove a rate of 100 %, and among few tasks that does not average out."""
_CAUTION = 6
"""The number of outcomes of the rarer kind that the worst case is worth: two failures do not show how tasks differ."""


def effective_episodes(successes: Array, episodes: Array) -> Array:
    """Return the number of episodes of one rate that determine it as well as the tasks' episodes determine the mean of
    their rates.

    Args:
        successes: integers (..., tasks).
        episodes: numbers of completed episodes, integers (tasks,), at least 1.

    Returns:
        Floats (...).
    """
    n_tasks, inverse = len(episodes), (1 / episodes).sum()
    at_one_rate, at_worst = n_tasks**2 / inverse, n_tasks * episodes.min()
    # A task's own variance is mixed with the pool's, so that a task of five successes in five is not taken for certain.
    borrowed = _BORROWED + _BORROWED_BY_ALL / n_tasks
    failures, rate = episodes - successes, (successes / episodes).mean(axis=-1)
    pooled = rate * (1 - rate)
    within = (successes * failures / episodes + borrowed * pooled[..., None]) / (episodes - 1 + borrowed)
    ratio = np.divide((within / episodes).sum(axis=-1), inverse * pooled, out=np.ones_like(rate), where=pooled > 0)
    # The ratio is shrunk towards the worst case as long as few outcomes of the rarer kind support it.
    rarer = np.minimum(successes.sum(axis=-1), failures.sum(axis=-1))
    shrunk = (rarer * ratio + _CAUTION * at_one_rate / at_worst) / (rarer + _CAUTION)
    return np.asarray(at_one_rate / shrunk)


def wilson_of_mean(rate: Array, n: Array, level: float = LEVEL) -> tuple[Array, Array]:
    """Return both ends of Wilson's interval of mean rates over ``n`` effective episodes each.

    Near 0 and 1 the distribution of a rate is skewed, and Wilson's end on that side is too close to the rate. So that
    end is corrected for continuity: fully at a rate of 0 or 1, not at all at one half, in proportion between.

    Args:
        rate: floats (...), in 0 to 1.
        n: floats (...), the result of :func:`effective_episodes`.
        level: the level of the two-sided interval.

    Returns:
        Low and high ends, floats (...).
    """
    z2, step = z_score(level) ** 2, 1 / (2 * n)

    def end(shifted: Array, sign: int) -> Array:
        spread = np.sqrt(z2 * (shifted * (1 - shifted) / n + z2 / (4 * n * n)))
        return np.asarray((shifted + z2 / (2 * n) + sign * spread) / (1 + z2 / n))

    low = np.maximum(rate - step * np.maximum(1 - 2 * rate, 0.0), 0.0)
    high = np.minimum(rate + step * np.maximum(2 * rate - 1, 0.0), 1.0)
    # At rates of 0 and 1 the end is exactly 0 or 1; rounding would leave 1e-17.
    return np.where(low == 0, 0.0, end(low, -1)), np.where(high == 1, 1.0, end(high, 1))
