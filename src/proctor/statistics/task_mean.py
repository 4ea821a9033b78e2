"""How sure one can be of the mean of several tasks' success rates, each task weighing the same.

The mean is treated as one rate of an *effective number of episodes*: as many as would give one rate the variance that
the mean has. If all tasks have the same rate and the same number of episodes, that is about the number of episodes
there are. It is larger if the tasks' rates differ, because episodes then vary less within tasks than in one pool. It is
smaller if some tasks have few episodes, because those tasks weigh no less than the others. docs/statistics.md has the
formulae, their sources, and how often the interval contains the mean.

The functions take arrays, so that ``bench/coverage.py`` and the tests simulate exactly what is reported.
"""

from __future__ import annotations

import numpy as np

from proctor.statistics.intervals import LEVEL, z_score
from proctor.types import Array

_BORROWED, _BORROWED_BY_ALL = 1, 4
"""Episodes that each task's variance borrows from the pool, and that all tasks borrow together: five successes of five
do not prove a rate of 100 %, and among few tasks that does not average out."""
_CAUTION = 6
"""How many outcomes of the rarer kind the worst case counts as: two failures do not show how the tasks differ."""


def effective_episodes(successes: Array, episodes: Array) -> Array:
    """Episodes of one rate that would tell as much of it as the tasks' episodes tell of the mean of their rates.

    Args:
        successes: integers (..., tasks).
        episodes: completed ones, integers (tasks,), at least 1.

    Returns:
        Floats (...).
    """
    n_tasks, inverse = len(episodes), (1 / episodes).sum()
    at_one_rate, at_worst = n_tasks**2 / inverse, n_tasks * episodes.min()
    borrowed = _BORROWED + _BORROWED_BY_ALL / n_tasks
    failures, rate = episodes - successes, (successes / episodes).mean(axis=-1)
    pooled = rate * (1 - rate)
    within = (successes * failures / episodes + borrowed * pooled[..., None]) / (episodes - 1 + borrowed)
    ratio = np.divide((within / episodes).sum(axis=-1), inverse * pooled, out=np.ones_like(rate), where=pooled > 0)
    rarer = np.minimum(successes.sum(axis=-1), failures.sum(axis=-1))
    shrunk = (rarer * ratio + _CAUTION * at_one_rate / at_worst) / (rarer + _CAUTION)
    return np.asarray(at_one_rate / shrunk)


def wilson_of_mean(rate: Array, n: Array, level: float = LEVEL) -> tuple[Array, Array]:
    """Both ends of Wilson's interval of mean rates over ``n`` effective episodes each.

    Near 0 and 1 the distribution of a rate is skew, and Wilson's end on that side is too close to the rate. So that end
    is corrected for continuity: fully at a rate of 0 or 1, not at all at one half, in proportion between.

    Args:
        rate: floats (...), in 0 to 1.
        n: floats (...), as :func:`effective_episodes` gives them.
        level: of the interval, two-sided.

    Returns:
        Low and high ends, floats (...).
    """
    z2, step = z_score(level) ** 2, 1 / (2 * n)

    def end(shifted: Array, sign: int) -> Array:
        spread = np.sqrt(z2 * (shifted * (1 - shifted) / n + z2 / (4 * n * n)))
        return np.asarray((shifted + z2 / (2 * n) + sign * spread) / (1 + z2 / n))

    low = np.maximum(rate - step * np.maximum(1 - 2 * rate, 0.0), 0.0)
    high = np.minimum(rate + step * np.maximum(2 * rate - 1, 0.0), 1.0)
    # The ends are 0 and 1 exactly there; rounding would leave 1e-17.
    return np.where(low == 0, 0.0, end(low, -1)), np.where(high == 1, 1.0, end(high, 1))
