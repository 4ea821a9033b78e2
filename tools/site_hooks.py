"""Hooks of ``mkdocs build``: the repository's own pages become pages of the site, and links lead where a reader can go.

The pages are written for the repository, in which ``../ARCHITECTURE.md`` is a file. The site has such a page too, at
the top. A link to a file that is not a page, such as source code, leads to the repository if ``repo_url`` is set in
``mkdocs.yml``, and else becomes plain text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "examples/metaworld_act/README.md",
)
"""Pages of the repository that are not in ``docs``."""
WORKER = ROOT / "tools" / "site_worker.js"
_FETCHED = re.compile(r'<script src="https?://[^"]*iframe-worker[^"]*"></script>')
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?P<bang>!?)\[(?P<text>[^\[\]]*)\]\((?P<target>[^)\s]+)\)")
_ROLE = re.compile(r":\w+:<code>~?(?:[\w.]*\.)?(\w+)</code>")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the repository that are not in ``docs``."""
    for name in PAGES:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the links of a page, apart from its code."""
    if page.file.src_uri == "api.md":
        markdown += "".join(map(_entry, re.findall(r"\| `proctor\.(\w+)` \|.*\| `([\w.]+)` \|", markdown)))
    here = PurePosixPath(page.file.src_uri)
    in_repository = here if str(here) in PAGES else "docs" / here
    known = {file.src_uri for file in files}

    def rewritten(link: re.Match[str]) -> str:
        target, _, anchor = link["target"].partition("#")
        if "://" in target or not target:
            return link[0]
        path = os.path.normpath(in_repository.parent / target)
        uri = path if path in PAGES else path.removeprefix("docs/")
        if uri in known:
            return _link(link, os.path.relpath(uri, here.parent), anchor)
        return _link(link, f"{config.repo_url}/blob/main/{path}", anchor) if config.repo_url else link["text"]

    return _outside_code(markdown.replace("][", "]\\["), rewritten)  # in a path, as in user/repo[@revision][:path]


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show the roles of docstrings (``:func:`` and the like) as code."""
    return _ROLE.sub(r"<code>\1</code>", html)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Put ``site_worker.js`` in the place of the script that the theme would fetch: a reader requests nothing."""
    return _FETCHED.sub(lambda _: f"<script>{WORKER.read_text()}</script>", output)


def on_post_template(output_content: str, template_name: str, config: MkDocsConfig) -> str:
    """Do to a page without a source, such as ``404.html``, what is done to the others."""
    return _FETCHED.sub(lambda _: f"<script>{WORKER.read_text()}</script>", output_content)


def _entry(name_and_home: tuple[str, str]) -> str:
    """Return the directive that shows a public name with its signature and its docstring."""
    name, home = name_and_home
    return f"\n::: {home}.{name}\n"


def _link(link: re.Match[str], target: str, anchor: str) -> str:
    return f"{link['bang']}[{link['text']}]({target}{'#' if anchor else ''}{anchor})"


def _outside_code(markdown: str, rewritten: Callable[[re.Match[str]], str]) -> str:
    parts, position = list[str](), 0
    for fence in _FENCE.finditer(markdown):
        parts += [_LINK.sub(rewritten, markdown[position : fence.start()]), fence[0]]
        position = fence.end()
    return "".join([*parts, _LINK.sub(rewritten, markdown[position:])])
