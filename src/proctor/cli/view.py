"""``proctor view``."""

from __future__ import annotations

from pathlib import Path

_HERE = Path("outputs/eval")


def view_command(
    directory: Path = _HERE,
    /,
    *,
    port: int = 8631,
    host: str = "127.0.0.1",
    open: bool = False,  # noqa: A002 - a flag
) -> int:
    """Show a folder of evaluations in a browser on this machine: an index, the report of each, comparisons.

    A report follows a run that goes on, and films episodes that have no video when they are chosen. Ctrl-C ends it.

    Parameters
    ----------
    directory
        A folder with runs in it, however deep.
    port
        0 takes a free one.
    host
        127.0.0.1 or ::1. From another machine use a tunnel: ssh -L 8631:localhost:8631 THIS_MACHINE
    open
        Open it in the browser.
    """
    import webbrowser

    from rich.console import Console

    from proctor.errors import MissingExtraError

    try:
        from proctor.view import Viewer
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "view") from None
    viewer = Viewer(directory, host, port)
    Console().print(f"{viewer.url}  (Ctrl-C ends it)", soft_wrap=True, highlight=False)
    if open:
        webbrowser.open(viewer.url)
    viewer.serve()
    return 0
