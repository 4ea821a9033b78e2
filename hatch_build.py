"""Makes the package index's page of README.md: its links and pictures lead into the repository."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?![a-z]+:|#)([^)\s]+)\)")


class AbsoluteLinks(MetadataHookInterface):
    """The address is ``Source`` of ``[project.urls]``, which stands nowhere else."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the text of the project's page."""
        source = metadata["urls"]["Source"]

        def absolute(link: re.Match[str]) -> str:
            mark, text, target = link.groups()
            return f"{mark}[{text}]({source}/{'raw' if mark else 'blob'}/HEAD/{target})"

        text = _LINK.sub(absolute, Path(self.root, "README.md").read_text(encoding="utf-8"))
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
