"""The audit in a report: findings, both sides of the values, and pictures."""

from __future__ import annotations

from page_samples import sample_run

from proctor.reports.html import render_report
from proctor.reports.html.page import content_security_policy
from proctor.results.audit import Audit, Finding, Histogram, Picture, Severity, write_audit

FINDING = Finding(
    "far", Severity.SEVERE, "observation.state", 6, "checkpoint", "observation.state[6] is 14 σ <b>away</b>.", {}
)
AUDIT = Audit(
    3,
    ["environment", "checkpoint"],
    [FINDING],
    ["Something was not compared."],
    [
        Histogram("observation.state", 6, [0.0, 0.5, 1.0], [0.25, 0.75], [0.5, 0.5], 0.4, 0.1, 0.1, 0.9),
        Histogram("action", 0, [-1.0, 0.0, 1.0], [1.0, 0.0]),
    ],
    [
        Picture("observation.image", "what the policy saw", "AAAA"),
        Picture("observation.image", "a frame", "BBBB", True),
    ],
)


def page_of(run):
    return render_report([run], [], lambda *_: None)


def test_findings_values_and_pictures_are_on_the_page(tmp_path):
    run = sample_run(tmp_path / "run", ["+-"])
    write_audit(run.path, AUDIT)

    page = page_of(run)

    assert "observation.state[6] is 14 σ &lt;b&gt;away&lt;/b&gt;." in page
    assert "Something was not compared." in page
    assert '<img src="data:image/png;base64,AAAA"' in page
    assert page.index("AAAA") < page.index("BBBB")
    assert page.count('aria-label="observation.state[6] from 0 to 1"') == 1
    assert page.count("<polyline") == 1  # only one of the two has a dataset beside it
    assert 'href="#audit"' in page


def test_a_run_without_an_audit_has_no_such_section(tmp_path):
    assert 'id="audit"' not in page_of(sample_run(tmp_path / "run", ["+-"]))


def test_an_audit_that_is_damaged_costs_only_its_own_section(tmp_path):
    run = sample_run(tmp_path / "run", ["+-"])
    (run.path / "audit.json").write_text("{")

    assert 'id="audit"' not in page_of(run)


def test_a_page_may_show_images_that_it_holds_and_no_others():
    assert "img-src data:;" in content_security_policy("", "")
