"""The prose rule of CONTRIBUTING.md, as far as a machine can check it.

``python tests/test_prose.py`` lists the sentences that break it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCE = REPOSITORY / "src" / "proctor"

FRAGMENT = re.compile(r"(The same|Of|Those|What|Which|Whether|Where|How)\b|[a-z]")
"""A docstring with this beginning has no subject, or needs its neighbour. It may begin with a literal."""

PRIVATE = re.compile(
    r"\b(nobody|whoever|whomever|whom|films?|filmed|filming|says of|say of|said of|mend|mends|mended)\b"
    r"|(?<!there )\bis no (?!longer)",
    re.IGNORECASE,
)
"""Words that only this project used; errors and pages use those of the field."""

ERRORS = re.compile(r"Error$|^(error|note|warn|warning|SystemExit|_refusal)$")

PAGES = [
    path
    for folder in (REPOSITORY, REPOSITORY / "docs", REPOSITORY / "docs" / "decisions")
    for path in sorted(folder.glob("*.md"))
]
MODULES = sorted(SOURCE.rglob("*.py"))


def docstrings(tree: ast.AST) -> Iterator[str]:
    """The docstrings of a module and of its classes and functions, the private ones too."""
    if text := ast.get_docstring(tree):
        yield text
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from docstrings(node)


def messages(tree: ast.AST) -> Iterator[str]:
    """The texts of errors, notes and warnings, with ``{}`` in place of their values."""
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and ERRORS.search(getattr(call.func, "attr", getattr(call.func, "id", ""))):
            for argument in call.args:
                yield from map(text_of, [argument] if isinstance(argument, ast.Constant | ast.JoinedStr) else [])


def text_of(node: ast.Constant | ast.JoinedStr) -> str:
    """A literal as the reader of the message sees it."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)


def offences_of_module(path: Path) -> list[str]:
    """Docstrings that begin as fragments, and docstrings and messages with private words."""
    tree = ast.parse(path.read_text())
    fragments = [text.partition("\n")[0] for text in docstrings(tree) if FRAGMENT.match(text)]
    return fragments + [text for text in (*docstrings(tree), *messages(tree)) if PRIVATE.search(text)]


def offences_of_page(path: Path) -> list[str]:
    """Lines of a page with private words, apart from its code."""
    prose = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    prose = re.sub(r"`[^`\n]*`", "", prose)
    return [line for line in prose.splitlines() if PRIVATE.search(line)]


def offences() -> Iterator[tuple[str, str]]:
    """Every sentence that breaks the rule, with its package or page."""
    for path in MODULES:
        package = path.relative_to(SOURCE).parts[0]
        yield from ((package, sentence) for sentence in offences_of_module(path))
    for path in PAGES:
        yield from ((str(path.relative_to(REPOSITORY)), line) for line in offences_of_page(path))


FOUND = list(offences())
PLACES = sorted(
    {path.relative_to(SOURCE).parts[0] for path in MODULES} | {str(path.relative_to(REPOSITORY)) for path in PAGES}
)


@pytest.mark.parametrize("place", PLACES)
def test_the_prose_rule_is_kept(place):
    """Docstrings are sentences, and errors and pages use the field's words."""
    found = [sentence for where, sentence in FOUND if where == place]

    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("docstring", "is_fragment"),
    [
        ("The same for a simulator.", True),
        ("Of a forward pass.", True),
        ("Whether it is over.", True),
        ("what it is", True),
        ("Return the rate.", False),
        ("``proctor plan``: how many episodes are needed.", False),
        ("Offers a choice.", False),
    ],
)
def test_a_fragment_is_recognised(docstring, is_fragment):
    """A docstring is recognised by its first word."""
    assert bool(FRAGMENT.match(docstring)) is is_fragment


def test_a_private_word_in_an_error_is_found():
    """Words are found between the parts of an f-string, and in a note."""
    tree = ast.parse("""raise ConfigError(f"{name} is no number.")\nnote("Nobody knows: nobody.")\nprint("nobody")""")

    assert [bool(PRIVATE.search(text)) for text in messages(tree)] == [True, True]


if __name__ == "__main__":
    for place, sentence in FOUND:
        print(f"{place}: {sentence}")  # noqa: T201
