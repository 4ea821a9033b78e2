"""``proctor view``."""

from __future__ import annotations

import webbrowser
from pathlib import Path

from rich.console import Console

from proctor.child.loading import without_garbage_collection
from proctor.errors import MissingExtraError

_HERE = Path("outputs")
PORT = 8631


def view_command(
    directory: Path = _HERE,
    /,
    *,
    port: int = PORT,
    host: str = "127.0.0.1",
    open: bool = False,  # noqa: A002 - a flag
) -> int:
    """Show a folder of evaluations in a browser on this machine: an index, the report of each, comparisons, sweeps.

    Pages are updated while runs go on. A video that is missing is rendered on request. Ctrl-C stops
    the server.

    Parameters
    ----------
    directory
        The folder in which runs are looked for, in its subfolders too.
    port
        The port of the server; 0 takes a free one.
    host
        The address of the server, 127.0.0.1 or ::1. From another machine use a tunnel:
        ssh -L 8631:localhost:8631 THIS_MACHINE
    open
        Open the page in the browser.
    """
    try:
        with without_garbage_collection():
            from proctor.view import Viewer
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "view") from None
    viewer = Viewer(directory, host, port, may_be_missing=directory == _HERE)
    Console().print(f"{viewer.url}  (Ctrl-C ends it)", soft_wrap=True, highlight=False)
    if open:
        webbrowser.open(viewer.url)
    viewer.serve()
    return 0
