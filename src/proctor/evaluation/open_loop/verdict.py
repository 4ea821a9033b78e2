"""The verdict on open loop beside closed loop: if a run fails, is it the policy, or what the policy is given?

Open loop is *good* if the whole interval of the mean absolute error is at most ``GOOD`` of the error of a constant
prediction (the dataset's mean action, which needs no policy), and *bad* if all of it is above ``BAD`` of that error. A
run *fails* if the whole interval of its success rate is at most ``FAILS``, and *succeeds* if all of it is at least
``SUCCEEDS``. Anything between is not evidence, and the verdict is that nothing can be said.

The thresholds of open loop separate what was measured for the bundled checkpoint on nine unseen demonstrations
(docs/open-loop.md): 0.24 (0.15 to 0.35) as it is, 0.54 with red and blue exchanged, and 1.0 and more (0.7 to 2.1) with
images turned round, black images, or the state in reverse. They remain conventions: a policy may succeed with large
errors, if a task can be done in several ways, and fail with small ones, which add up over an episode.
"""

from __future__ import annotations

from pathlib import Path

from proctor.results.headline import headline_of
from proctor.results.measured import read_results
from proctor.results.open_loop import Errors, Finding, OpenLoopVerdict
from proctor.statistics.intervals import Interval

GOOD, BAD = 0.4, 0.6
FAILS, SUCCEEDS = 0.25, 0.5

_SENTENCES = {
    ("good", "fails"): (
        Finding.INPUTS_DIFFER,
        (
            "the policy predicts the recorded actions and fails where it runs, so probably the environment's inputs, "
            "or its use of the actions, differ from the dataset's, or small errors add up; see proctor audit {run}"
        ),
    ),
    ("bad", "fails"): (
        Finding.POLICY_IS_WRONG,
        (
            "the policy does not reproduce the recorded actions either, so look at the policy first: its training, its "
            "normalisation, and whether this is the dataset that it was trained on"
        ),
    ),
    ("good", "succeeds"): (Finding.CONSISTENT, "the two agree"),
    ("bad", "succeeds"): (
        Finding.SUCCEEDS_OTHERWISE,
        (
            "the policy succeeds without the recorded actions: the task can be done in several ways, or this is not "
            "the dataset that it was trained on"
        ),
    ),
}


def verdict_beside(run: Path, overall: Errors, constant_std: float | None, other_policy: str) -> OpenLoopVerdict:
    """Compare the errors in open loop with the success rate of a run in closed loop.

    ``constant_std`` is that of :class:`~proctor.results.open_loop.OpenLoopResult`. ``other_policy`` is the reason why
    the run is one of another policy; "" if it is the same.

    Raises:
        ConfigError: ``run`` holds no results.
        MergeError: its journals contradict each other.
    """
    headline = headline_of(read_results(run)[1])
    rate, interval = (None, None) if headline is None else (headline.rate, headline.interval)
    open_loop, closed_loop = _open_loop(overall, constant_std), _closed_loop(interval)
    finding, conclusion = _SENTENCES.get((open_loop, closed_loop), (Finding.UNKNOWN, ""))
    if other_policy or not conclusion:
        why = other_policy or _why_unknown(overall, constant_std, open_loop, closed_loop)
        finding, conclusion = Finding.UNKNOWN, f"what follows cannot be said: {why}"
    sentence = f"{_described(overall, open_loop)}, and {_rate(rate, interval)}: {conclusion.format(run=run)}."
    return OpenLoopVerdict(str(run), finding, sentence, rate, interval)


def _open_loop(overall: Errors, constant_std: float | None) -> str:
    if overall.std is None or overall.std.mae_interval is None or not constant_std:
        return ""
    found = overall.std.mae_interval
    if found.high <= GOOD * constant_std:
        return "good"
    return "bad" if found.low > BAD * constant_std else "between"


def _closed_loop(interval: Interval | None) -> str:
    if interval is None:
        return ""
    if interval.high <= FAILS:
        return "fails"
    return "succeeds" if interval.low >= SUCCEEDS else "between"


def _described(overall: Errors, word: str) -> str:
    if overall.std is None:
        return "Open loop has no error in standard deviations"
    mae = f"MAE {overall.std.mae:.3g} of a standard deviation"
    return f"Open loop is {word} ({mae})" if word in ("good", "bad") else f"Open loop has a {mae}"


def _rate(rate: float | None, interval: Interval | None) -> str:
    if rate is None or interval is None:
        return "closed loop has no success rate"
    return f"closed loop is {100 * rate:.1f} % ({100 * interval.low:.1f} … {100 * interval.high:.1f})"


def _why_unknown(overall: Errors, constant_std: float | None, open_loop: str, closed_loop: str) -> str:
    if not closed_loop:
        return "the run has no success rate"
    if closed_loop == "between":
        return f"the success rate is neither surely below {100 * FAILS:.0f} % nor surely above {100 * SUCCEEDS:.0f} %"
    if open_loop == "between":
        return (
            f"the error is neither surely below {GOOD:g} nor surely above {BAD:g} of that of the dataset's mean action "
            f"({constant_std:.3g})"
        )
    if overall.std is None or not constant_std:
        return "the dataset holds no standard deviation of its actions"
    return "one episode gives no interval; compare with more episodes of the dataset"
