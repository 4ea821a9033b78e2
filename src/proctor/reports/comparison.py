"""The comparison of one evaluation with another: a row per task, then the result over all tasks in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from proctor.reports.text import NONE, count, name_cell, safe
from proctor.results.compare import Comparison, RunComparison, Verdict
from proctor.statistics.differences import Score, Strata
from proctor.statistics.intervals import LEVEL, Interval
from proctor.statistics.power import POWER

MAX_TASK_ROWS = 20
_STYLES = {Verdict.BETTER: "green", Verdict.WORSE: "red", Verdict.UNDECIDED: ""}


def print_first(console: Console, path: object) -> None:
    """Print the name of the evaluation with which the others are compared."""
    console.print(_named("A", path), soft_wrap=True)


def print_comparison(console: Console, comparisons: Sequence[RunComparison], remarks: Sequence[Sequence[str]]) -> None:
    """Print every comparison, after :func:`print_first`; remarks come before the numbers that they are about."""
    for position, (comparison, sentences) in enumerate(zip(comparisons, remarks, strict=True)):
        name = letter(position + 1)
        console.print(_named(name, comparison.b.path), Text(""), sep="\n", soft_wrap=True)
        for remark in [*sentences, *gaps(comparison, name)]:
            console.print(safe(f"Note: {remark}", "yellow"), soft_wrap=not console.is_terminal)
        console.print(_table(comparison, name))
        for line in [*adjustment(comparison), *_left_out(comparison), Text(""), *conclusion(comparison.overall, name)]:
            console.print(line, soft_wrap=not console.is_terminal)
        console.print()


def letter(position: int) -> str:
    """Name an evaluation among others by its position: A, B, C, … and by numbers beyond Z."""
    return chr(ord("A") + position) if position < 26 else f"#{position + 1}"


def _named(letter: str, path: object) -> Text:
    return Text.assemble((f"{letter}  ", "bold"), safe(str(path)))


def _table(comparison: RunComparison, name: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("task", min_width=8)
    for column in ("A", name, "points", *column_names(comparison)):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for task in _shown(comparison.tasks):
        table.add_row(*row_cells(task))
    if len(comparison.tasks) > 1:
        table.add_section()
        table.add_row(*row_cells(comparison.overall), style="bold")
    return table


def _shown(tasks: Sequence[Comparison]) -> list[Comparison]:
    """Choose all tasks, or those with the clearest differences if there are many."""
    clearest = sorted(tasks, key=lambda task: (task.adjusted_p, -abs(task.contrast.difference)))[:MAX_TASK_ROWS]
    kept = {id(task) for task in clearest}
    return [task for task in tasks if id(task) in kept]


def row_cells(comparison: Comparison) -> list[Text | str]:
    """Make the cells of a task's row: name, both scores, difference, interval, p value, verdict."""
    contrast, verdict = comparison.contrast, comparison.verdict
    return [
        name_cell(comparison.name),
        *map(_score, contrast.scores),
        points(contrast.difference),
        points_range(comparison.interval),
        p_value(comparison.adjusted_p),
        Text("" if verdict is Verdict.UNDECIDED else verdict, _STYLES[verdict]),
    ]


def column_names(comparison: RunComparison) -> tuple[str, str]:
    """Name the columns of the intervals and of the p values of a comparison's rows."""
    if any(row.is_adjusted for row in (*comparison.tasks, comparison.overall)):
        return "adj. interval", "adj. p"
    return f"{LEVEL:.0%} interval", "p"


def adjustment(comparison: RunComparison) -> Iterator[Text]:
    """Explain for how many comparisons p values and intervals are adjusted, if they are."""
    counts = {"single tasks": comparison.tasks[0].n_comparisons, "all tasks": comparison.overall.n_comparisons}
    numbers = [f"{n} of {what}" for what, n in counts.items() if n > 1]
    if numbers:
        yield Text(
            f"adj.: adjusted by Holm's method for several comparisons ({', '.join(numbers)}). "
            f"An interval contains 0 if and only if its p is above {1 - LEVEL:.2f}.",
            "dim",
        )


def _left_out(comparison: RunComparison) -> Iterator[Text]:
    if more := len(comparison.tasks) - len(_shown(comparison.tasks)):
        yield Text(f"{count(more, 'more task')} with less clear differences; --json has all.", "dim")
    if comparison.n_tasks_left_out:
        yield Text(f"{count(comparison.n_tasks_left_out, 'task')} evaluated by only one of the two.", "dim")


def conclusion(overall: Comparison, name: str) -> Iterator[Text]:
    """State the verdict, the numbers it rests on, and how many more episodes would show a difference."""
    contrast = overall.contrast
    statement = {
        Verdict.BETTER: f"{name} is better than A",
        Verdict.WORSE: f"{name} is worse than A",
        Verdict.UNDECIDED: f"No difference between {name} and A is shown",
    }[overall.verdict]
    adjusted, level = "", f"{LEVEL:.0%} interval"
    if overall.is_adjusted:
        adjusted = f", {_p_is(overall.adjusted_p)} by Holm's method for {overall.n_comparisons} comparisons"
        level = "adjusted interval"
    yield Text.assemble(
        (statement, f"bold {_STYLES[overall.verdict]}".strip()),
        f": {points(contrast.difference)} points  ({level} {points_range(overall.interval)}; "
        f"{contrast.test}'s test {_p_is(overall.p_value)}{adjusted})",
    )
    yield Text(
        f"The same {count(contrast.scores[0].n, 'episode')} under both policies."
        if overall.paired
        else "The two did not run the same episodes, as far as is known; they are compared as independent samples.",
        "dim",
    )
    if isinstance(contrast, Strata):
        text = "Some tasks have more episodes than others; in the difference every task has the same weight."
        yield Text(text, "dim")
    if overall.more_episodes is not None:
        yield Text(
            f"About {count(overall.more_episodes, 'more episode')} of each would show a true difference of this size "
            f"with a probability of {POWER:.0%}."
        )


def gaps(comparison: RunComparison, name: str) -> Iterator[str]:
    """Name the episodes that are missing, in error, or not in the comparison."""
    overall = comparison.overall
    for side, counts in (("A", overall.a), (name, overall.b)):
        if counts.n_missing:
            planned = count(counts.n_planned, "episode")
            yield f"{side} is incomplete: {counts.n_missing} of {planned} have no result yet."
        if counts.n_errors:
            yield f"{side} has {count(counts.n_errors, 'episode')} in error, not compared."
        if overall.paired and (alone := counts.n_completed - overall.contrast.scores[0].n):
            yield f"{side} has {count(alone, 'more episode')}, not completed by the other."
    if overall.bounds is not None:
        yield f"Whatever the episodes in error would become, the difference is {points_range(overall.bounds)}."


def _score(score: Score) -> str:
    return f"{score.successes}/{score.n}"


def points(difference: float) -> str:
    """Format a difference of rates (-1 to 1) in percentage points, with its sign."""
    return f"{100 * difference:+.1f}"


def points_range(interval: Interval | None) -> str:
    """Format an interval of differences of rates in percentage points."""
    return NONE if interval is None else f"{100 * interval.low:+.1f} … {100 * interval.high:+.1f}"


def _p_is(p: float) -> str:
    shown = p_value(p)
    return f"p {shown}" if shown.startswith("<") else f"p = {shown}"


def p_value(p: float) -> str:
    """Format a p value with three digits."""
    return "< .001" if p < 0.001 else f"{p:.3f}"
