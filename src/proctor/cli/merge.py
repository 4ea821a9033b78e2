"""``proctor merge``."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from proctor.cli.eval import ERRORS_REMAIN
from proctor.errors import ConfigError


def merge_command(run_dirs: list[Path], /, *, output_dir: Path | None = None) -> int:
    """Put the shards of an evaluation together, and print its summary.

    The results equal those of the run without shards. If episodes are missing, they are listed.

    Parameters
    ----------
    run_dirs
        The directories in which the shards were run: one with the journals of several, or several.
    output_dir
        The directory for the merged run; not needed if there is only one directory.
    """
    from proctor.reports.terminal import print_summary
    from proctor.results.run_dir import RunDirectory
    from proctor.results.run_status import RunStatus
    from proctor.results.shards import merge_shards
    from proctor.results.summary import require_complete

    if output_dir is None and len(run_dirs) > 1:
        raise ConfigError(
            "Several directories are merged, and no output is named. Give --output_dir, which may be one of them."
        )
    output = output_dir or run_dirs[0]
    summary = merge_shards(run_dirs, output)
    print_summary(Console(), summary, RunStatus.of(output), RunDirectory(output).read_run())
    require_complete(summary)
    return ERRORS_REMAIN if summary.overall.n_errors else 0
