"""``make docs-site``: the pages become a site, strictly, that asks nothing of anybody when it is read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
RESOURCES = {"link": "href", "script": "src", "img": "src", "iframe": "src", "video": "src", "source": "src"}
"""The attribute by which each element makes a browser load something. A link for readers to click does not."""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; a broken link, an unknown heading, or a page that is not in the navigation is an error."""
    pytest.importorskip("material", reason="mkdocs-material is not installed; the extra `docs` has it (make install)")
    pytest.importorskip("mkdocstrings", reason="mkdocstrings is not installed; the extra `docs` has it (make install)")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, check=False, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Resources(HTMLParser):
    """The addresses that a page loads by itself."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name == RESOURCES.get(tag) and value]


@pytest.mark.parametrize(
    ("html", "foreign"),
    [
        ("<link href='https://a/x.css'>", True),
        ("<script src='//a/x.js'>", True),
        ("<a href='https://a'>", False),
        ("<img src='images/a.svg'>", False),
    ],
)
def test_a_resource_from_elsewhere_would_be_noticed(html, foreign):
    assert any(map(is_foreign, Resources(html).found)) is foreign


def is_foreign(address: str) -> bool:
    return bool(re.match(r"(\w+:)?//", address))


def test_every_page_of_the_repository_is_a_page_of_the_site(site):
    """Those beside ``docs`` as well."""
    pages = {path.stem for path in (REPOSITORY / "docs").glob("*.md")} | {"ARCHITECTURE", "CONTRIBUTING", "SECURITY"}

    assert {f"{name}.html" for name in pages} <= {path.name for path in site.glob("*.html")}
    assert "as fast as" in (site / "index.html").read_text()


def test_no_page_loads_anything_from_elsewhere(site):
    """Fonts, scripts, styles and pictures lie in the site."""
    for page in site.rglob("*.html"):
        assert not [address for address in Resources(page.read_text()).found if is_foreign(address)], page


def test_no_style_loads_anything_from_elsewhere(site):
    """A font, say."""
    assert not [path for path in site.rglob("*.css") if re.search(r"url\(['\"]?(https?:)?//", path.read_text())]


def test_the_reference_of_python_has_signatures_and_docstrings(site):
    """From the code, without importing it."""
    page = (site / "api.html").read_text()

    assert "proctor.evaluation.run.evaluate" in page
    assert "n_episodes" in page
    assert ":func:" not in re.sub(r"<pre.*?</pre>", "", page, flags=re.DOTALL)


def test_a_browser_requests_nothing_but_the_site(site, browser):
    """While pages are opened from disk and searched."""
    page = browser.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    for name in ("concepts", "api", "index"):
        page.goto((site / f"{name}.html").as_uri())
    page.locator(".md-search__input").click()
    page.keyboard.type("rename_map")
    page.locator(".md-search-result__link", has_text="lerobot-eval").first.wait_for()
    page.close()

    assert asked
    assert all(url.startswith((site.as_uri(), "data:", "blob:")) for url in asked)
