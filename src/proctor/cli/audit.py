"""``proctor audit``."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from proctor.cli.check import GATE_FAILED
from proctor.cli.output import print_json
from proctor.cli.run_names import chosen_run
from proctor.config import DatasetConfig


def audit_command(run_dir: Path | None = None, /, *, dataset: DatasetConfig | None = None, json: bool = False) -> int:
    """Hold what the policy of an evaluation was given against what it was trained on.

    States, images, instructions and actions of the first episodes are compared with the statistics that the checkpoint
    holds, and with a dataset if one is given. Findings are sorted by the strength of their evidence. The audit is
    written into RUN_DIR, where proctor report and proctor view show it with histograms and images.

    Parameters
    ----------
    run_dir
        A run directory, a part of its name that no other run here has, or nothing for the run that began last.
    dataset
        The dataset that the policy was trained on; the default is the one that the evaluation was given.
    json
        Print the audit as JSON, without histograms and images.
    """
    from proctor.evaluation.audit.runs import audit_run
    from proctor.reports.audit import plain_audit, print_audit
    from proctor.results.audit import Severity

    audit = audit_run(chosen_run(run_dir), dataset)
    if json:
        print_json(plain_audit(audit))
    else:
        print_audit(Console(), audit)
    return GATE_FAILED if any(finding.severity is Severity.SEVERE for finding in audit.findings) else 0
