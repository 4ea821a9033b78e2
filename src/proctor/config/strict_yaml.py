"""A YAML reader for configurations: it accepts plain values only, in time and memory proportional to the text.

Aliases (a few hundred bytes of them can expand to all memory), tags, dates and duplicate keys (YAML silently keeps the
last one) have no use in a configuration and are refused. JSON is valid YAML, so this reader also reads JSON.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

_DEEPEST = 32
"""Maximum nesting depth. PyYAML needs several Python frames per level, so deeper values would overflow the stack."""


def load_yaml(text: str) -> Any:
    """Parse ``text`` into texts, numbers, booleans, None, lists, and mappings whose keys are texts.

    A date stays a text, as it was written.

    Raises:
        ValueError: ``text`` is not YAML, or contains something that is refused; one line gives the reason and place.
    """
    try:
        return _Loader(text).get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark is not None else ""
        raise ValueError(f"{error.problem}{where}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(" ".join(str(error).split())) from None


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without the features that :func:`load_yaml` refuses."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML declares it as a class attribute
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":merge"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _refusal("anchors and aliases are not accepted", event)
        if getattr(event, "tag", None) is not None:
            raise _refusal("tags are not accepted", event)
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _refusal(f"values are nested more than {_DEEPEST} levels deep", event)
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _refusal(f"the key {key!r} is not a text; put it in quotation marks", key_node)
            if key in seen:
                raise _refusal(f"the key {key!r} occurs twice", key_node)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _refusal(problem: str, at: Any) -> yaml.MarkedYAMLError:
    """Return an error that describes the problem and gives the position of ``at``, a node or an event."""
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)
