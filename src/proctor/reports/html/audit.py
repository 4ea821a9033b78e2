"""The audit of runs' inputs on a page: findings, small histograms of both sides, and first images side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from proctor.errors import ConfigError
from proctor.reports.html.report_run import ReportRun
from proctor.results.audit import Audit, Histogram, Picture, read_audit

_WIDTH, _HEIGHT = 160, 44
_PICTURE = 224
_FEATURE_ROWS = 16
"""The most histograms of a feature that a page shows."""


@dataclass(frozen=True)
class AuditView:
    """The audit of the run at ``position``, as the template prints it.

    ``drawings`` are histograms by feature, each with the name of its element. ``pictures`` are images by feature.
    """

    position: int
    name: str
    audit: Audit
    drawings: Sequence[tuple[str, Sequence[tuple[str, Markup]]]]
    pictures: Sequence[tuple[str, Sequence[Picture]]]
    side: int = _PICTURE


def audit_views(runs: Sequence[ReportRun]) -> list[AuditView]:
    """Make the views of the runs that have an audit."""
    views = []
    for position, run in enumerate(runs):
        try:
            audit = read_audit(run.path)
        except ConfigError:  # the rest of the page does not need the file
            continue
        if audit is not None:
            views.append(AuditView(position, run.name, audit, list(_drawings(audit)), [*_by_feature(audit.pictures)]))
    return views


def _by_feature(pictures: Sequence[Picture]) -> Iterator[tuple[str, list[Picture]]]:
    ordered = sorted(pictures, key=lambda picture: picture.feature)
    for feature, group in groupby(ordered, key=lambda picture: picture.feature):
        yield feature, list(group)


def _drawings(audit: Audit) -> Iterator[tuple[str, list[tuple[str, Markup]]]]:
    for feature, group in groupby(audit.histograms, key=lambda histogram: histogram.feature):
        yield feature, [(f"[{each.index}]", _drawing(each)) for each in list(group)[:_FEATURE_ROWS]]


def _drawing(histogram: Histogram) -> Markup:
    """Draw the run's histogram as bars, the dataset's as a line, and the training's mean and σ as a mark below."""
    low, high = histogram.edges[0], histogram.edges[-1]
    most = max([*histogram.run, *histogram.training, 1e-9])
    base, bar = _HEIGHT - 8, _WIDTH / len(histogram.run)

    def x(value: float) -> float:
        return round(_WIDTH * min(1.0, max(0.0, (value - low) / (high - low))), 1)

    def y(share: float) -> float:
        return round(base * (1 - share / most), 1)

    parts = [
        f'<rect x="{number * bar:.1f}" y="{y(share)}" width="{0.9 * bar:.1f}" height="{base - y(share):.1f}" '
        'fill="var(--run-0)"/>'
        for number, share in enumerate(histogram.run)
        if share
    ]
    if histogram.training:
        points = " ".join(
            f"{number * bar:.1f},{y(share)} {(number + 1) * bar:.1f},{y(share)}"
            for number, share in enumerate(histogram.training)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="var(--run-1)" stroke-width="1.5"/>')
    if histogram.low is not None and histogram.high is not None:
        ends = f'x1="{x(histogram.low)}" x2="{x(histogram.high)}"'
        parts.append(f'<line {ends} y1="{base + 4}" y2="{base + 4}" stroke="var(--run-1)" stroke-width="1"/>')
    if histogram.mean is not None and histogram.std is not None:
        ends = f'x1="{x(histogram.mean - histogram.std)}" x2="{x(histogram.mean + histogram.std)}"'
        parts.append(f'<line {ends} y1="{base + 4}" y2="{base + 4}" stroke="var(--run-1)" stroke-width="4"/>')
    label = f"{histogram.feature}[{histogram.index}] from {low:.3g} to {high:.3g}"
    return Markup(
        '<svg viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" aria-label="{2}"><title>{2}</title>{3}</svg>'
    ).format(_WIDTH, _HEIGHT, label, Markup("".join(parts)))  # noqa: S704 - ours
