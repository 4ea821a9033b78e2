"""Pictures for the page, drawn by matplotlib. Their colours and fonts follow the page's light or dark theme.

matplotlib is given a stand-in for each colour of the style sheet; in the drawing it writes, every stand-in becomes the
variable of that name. Nothing in a drawing needs a style attribute, which the page's policy forbids.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from markupsafe import Markup

from proctor.reports.comparison import letter
from proctor.reports.sweep import SweepRow
from proctor.reports.text import WORTH_SAYING, part_name, share
from proctor.results.distributions import Histogram
from proctor.results.profile import Profile
from proctor.results.summary import Summary
from proctor.statistics.intervals import IntervalMethod
from proctor.statistics.rounds import counts_after_rounds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

if find_spec("matplotlib") is None:  # it is imported when something is drawn, so that a viewer starts without it
    raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")

N_RUN_COLOURS = 6
"""The number of colours of evaluations; from the seventh evaluation on they repeat."""

_NAMES = ["text", "muted", "line", "card", "success", "failure", *(f"run-{number}" for number in range(N_RUN_COLOURS))]
STAND_INS = {name: f"#0102{number:02x}" for number, name in enumerate(_NAMES)}
_VARIABLES = {code: f"var(--{name})" for name, code in STAND_INS.items()}

_WIDTH, _POINTS_PER_INCH = 520, 72
_LINES: tuple[tuple[float, Sequence[float]], ...] = ((0, ()), (0, (6, 2)), (0, (6, 2, 1, 2)), (0, (1, 1)))
"""The lines of evaluations in turn, so that no evaluation is told by its colour alone."""
_MOST_TASKS, _TASKS_IN_A_ROW, _LONGEST_NAME = 12, 3, 22
_FEW_ROUNDS = 20
"""The number of rounds up to which each round is marked by a point."""
_FEW_STEPS = 8
"""The number of checkpoints up to which the axis names the step of each."""
_NOT_OF_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no drawing can hold, which a name of somebody else's may."""
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"

_LOOK = {
    "axes.axisbelow": True,
    "axes.edgecolor": STAND_INS["line"],
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": STAND_INS["muted"],
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 12,
    "grid.color": STAND_INS["line"],
    "grid.linewidth": 1,
    "svg.fonttype": "none",
    "text.color": STAND_INS["text"],
    "text.parse_math": False,  # a name may hold dollar signs
    "xtick.color": STAND_INS["muted"],
    "xtick.major.size": 0,
    "ytick.color": STAND_INS["muted"],
    "ytick.major.size": 0,
}


def success_over_plan(summaries: Sequence[Summary]) -> Markup | None:
    """Draw the rate after every complete round of the plan, with its anytime-valid interval; None without any rate."""
    curves = [
        [
            counts
            for counts in counts_after_rounds(summary.episodes, summary.missing)
            if counts.rate is not None and not summary.overall.n_unknown
        ]
        for summary in summaries
    ]
    if not any(curves):
        return None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for number, known in enumerate(curves):
            n_episodes = [counts.n_planned for counts in known]
            intervals = [IntervalMethod.ANYTIME.interval(counts.n_successes, counts.n_completed) for counts in known]
            rates = [100 * counts.n_successes / counts.n_completed for counts in known]
            lows, highs = [100 * each.low for each in intervals], [100 * each.high for each in intervals]
            colour = _run_colour(number)
            axes.fill_between(n_episodes, lows, highs, color=colour, alpha=0.16, linewidth=0)
            marker = "o" if len(known) < _FEW_ROUNDS else ""
            (line,) = axes.plot(n_episodes, rates, color=colour, linewidth=2, clip_on=False)
            line.set(marker=marker, markersize=4)
            line.set_linestyle(_LINES[number % len(_LINES)])
            if len(summaries) > 1 and known:
                axes.annotate(
                    letter(number), (n_episodes[-1], rates[-1]), (5, 0), textcoords="offset points", va="center"
                )
        axes.xaxis.set_major_locator(tick_locator(8))
        axes.set(ylim=(0, 100), xlabel="episodes, in the order of the plan", ylabel="success rate, %")

    return picture("Success rate over the plan, with its anytime-valid interval", 260, draw)


def success_over_steps(rows: Sequence[SweepRow]) -> Markup | None:
    """Draw the success rate of each checkpoint over its training step, with its interval; None if there is none."""
    points = [
        (row.series, row.step, 100 * row.rate, 100 * row.interval.low, 100 * row.interval.high, row.mark == "best")
        for row in rows
        if row.step is not None and row.rate is not None and row.interval is not None
    ]
    if not points:
        return None
    names = list(dict.fromkeys(point[0] for point in points))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for number, name in enumerate(names):
            colour = _run_colour(number)
            _, steps, rates, lows, highs, best = zip(*(point for point in points if point[0] == name), strict=True)
            axes.vlines(steps, lows, highs, color=colour, linewidth=2, alpha=0.35)
            axes.plot(steps, rates, color=colour, linewidth=2, label=name, clip_on=False)
            axes.scatter(
                steps, rates, [90 if is_best else 20 for is_best in best], color=colour, clip_on=False, zorder=3
            )
        if len(at := sorted({point[1] for point in points})) <= _FEW_STEPS:
            axes.set_xticks(at)
        else:
            axes.xaxis.set_major_locator(tick_locator(8))
        axes.tick_params(axis="x", pad=8)
        axes.set(ylim=(0, 100), xlabel="training step", ylabel="success rate, %")
        if len(names) > 1:
            axes.legend(frameon=False)

    return picture("Success rate over training steps, with intervals", 300, draw)


def distribution(evaluations: Sequence[Histogram], name: str) -> Markup | None:
    """Draw histograms of a quantity of completed episodes, with the outcomes stacked and a row for each evaluation.

    Returns:
        The picture, None if there is no histogram.
    """
    if not evaluations:
        return None

    def draw(figure: Figure) -> None:
        rows: list[Axes] = list(figure.subplots(len(evaluations), sharex=True, squeeze=False)[:, 0])
        for number, (axes, found) in enumerate(zip(rows, evaluations, strict=True)):
            _draw_histogram(axes, found, 8)
            axes.set_ylabel(f"{letter(number)}: episodes" if len(evaluations) > 1 else "episodes")
        rows[-1].set_xlabel(name)

    return picture(f"Distribution of {name}", 260 if len(evaluations) == 1 else 110 * len(evaluations) + 60, draw)


def rewards_by_task(tasks: Mapping[str, Histogram]) -> Markup | None:
    """Draw a histogram of the sums of rewards of each task, on a scale of its own; the first tasks if there are many.

    Returns:
        The picture, None if there is no histogram.
    """
    shown = dict(list(tasks.items())[:_MOST_TASKS])
    if not shown:
        return None
    n_rows = -(-len(shown) // _TASKS_IN_A_ROW)

    def draw(figure: Figure) -> None:
        places = list(figure.subplots(n_rows, _TASKS_IN_A_ROW, squeeze=False).flat)
        for axes, (name, found) in zip(places, shown.items(), strict=False):
            _draw_histogram(axes, found, 3)
            axes.set_title(name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…", fontsize=12, loc="left")
        for axes in places[len(shown) :]:
            axes.set_visible(False)

    label = f"Distribution of the sum of rewards in each of {len(shown)} tasks"
    return picture(label if len(shown) == len(tasks) else f"{label}, of {len(tasks)}", 120 * n_rows, draw)


def _draw_histogram(axes: Axes, found: Histogram, most_ticks: int) -> None:
    """Draw the outcomes of a histogram, stacked. Failures are hatched, so that not only the colour tells them apart."""
    starts, width = found.edges[:-1], 0.94 * (found.edges[1] - found.edges[0])
    bottom = [0] * len(starts)
    parts = {"success": found.successes, "failure": found.failures, "muted": found.unknown}
    for colour, heights in parts.items():
        if colour == "muted" and not any(heights):
            continue
        hatch = "////" if colour == "failure" else None
        axes.bar(
            starts,
            heights,
            width,
            bottom,
            align="edge",
            color=STAND_INS[colour],
            hatch=hatch,
            edgecolor=STAND_INS["card"],
            linewidth=0,
        )
        bottom = [sum(pair) for pair in zip(bottom, heights, strict=True)]
    axes.yaxis.set_major_locator(tick_locator(4 if most_ticks > 4 else 2))
    if len(starts) == 1:  # all values are equal, so that no other value belongs on the axis
        middle = (found.edges[0] + found.edges[1]) / 2
        axes.set(xlim=(middle - 4, middle + 4), xticks=[middle], xticklabels=[f"{middle:g}"])
    else:
        axes.xaxis.set_major_locator(tick_locator(most_ticks, integer=found.whole))


def where_time_went(profiles: Sequence[Profile]) -> Markup | None:
    """Draw the parts of the workers' time by kind of work; None if nothing was timed."""
    shares = [_shares(profile) for profile in profiles]
    most = {part: max(each[part] for each in shares) for part in shares[0]}
    parts = sorted((part for part in most if most[part] > WORTH_SAYING), key=lambda part: -most[part])
    if not parts:
        return None
    height = 0.8 / len(shares)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for number, of_run in enumerate(shares):
            values = [of_run[part] for part in parts]
            places = [place + (number - (len(shares) - 1) / 2) * height for place in range(len(parts))]
            bars = axes.barh(places, values, height=0.92 * height, color=_run_colour(number))
            axes.bar_label(bars, [share(value) if value > WORTH_SAYING else "" for value in values], padding=4)
        axes.set_yticks(range(len(parts)), parts)
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)
        axes.grid(visible=False)

    return picture("Where the workers' time went", len(parts) * (14 * len(shares) + 14) + 20, draw)


def _shares(profile: Profile) -> dict[str, float]:
    seconds = {part_name(part): spent for part, spent in profile.total.parts.items()}
    seconds["tail"] = profile.rest_s or 0.0
    total = sum(seconds.values())
    return {part: spent / total if total else 0.0 for part, spent in seconds.items()}


def _run_colour(number: int) -> str:
    return STAND_INS[f"run-{number % N_RUN_COLOURS}"]


# ------------------------------------------------------------------------------------------- from matplotlib to page


def tick_locator(most: int, *, integer: bool = True) -> MaxNLocator:
    """Make at most ``most`` intervals between the ticks of an axis, at integers unless ``integer`` is False."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(most, integer=integer)


def picture(label: str, height: float, draw: Callable[[Figure], None]) -> Markup:
    """Make an element of the page of what ``draw`` draws; ``label`` describes it to a screen reader."""
    from matplotlib import style
    from matplotlib.figure import Figure

    file = io.StringIO()
    with warnings.catch_warnings(), style.context(["default", {**_LOOK, "svg.hashsalt": label}]):
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser has other fonts
        figure = Figure((_WIDTH / _POINTS_PER_INCH, height / _POINTS_PER_INCH), layout="constrained")
        draw(figure)
        figure.savefig(
            file, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    return _themed(file.getvalue(), label)


def _themed(drawing: str, label: str) -> Markup:
    """Give a drawing the page's colours, and attributes instead of styles."""
    root = ET.fromstring(_NOT_OF_XML.sub("\N{REPLACEMENT CHARACTER}", drawing))  # noqa: S314 - matplotlib wrote it
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        if element.tag == f"{{{_SVG}}}g":
            element.attrib.pop("id", None)  # ids would be the same in every drawing of the page
        _set_attributes(element)
    for name in ("width", "height"):
        root.attrib.pop(name, None)
    root.attrib.update({"class": "chart", "role": "img", "aria-label": label})
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _XLINK)
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704 - text in it was escaped as it was written


def _set_attributes(element: ET.Element) -> None:
    """Turn an element's style into attributes, and stand-ins for colours into the page's variables."""
    for declaration in filter(None, element.attrib.pop("style", "").split(";")):
        name, value = declaration.split(":", 1)
        if not name.strip().startswith("font"):
            element.set(name.strip(), value.strip())
    for name in ("fill", "stroke"):
        if (colour := element.get(name)) in _VARIABLES:
            element.set(name, _VARIABLES[colour])
