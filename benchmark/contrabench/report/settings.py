"""A specification as plain lines: one for each setting, named by its path."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def settings(spec: Mapping[str, Any]) -> dict[str, str]:
    """Flattens a specification.

    Args:
        spec: nested mappings of JSON values.

    Returns:
        The text of each value by its path, such as `budget.finetune.images`, in the order of
        the specification; plain values of a list are joined by commas. Nothing of one that
        is nested beyond all sense.
    """
    try:
        return dict(_lines(spec))
    except RecursionError:
        return {}


def _lines(spec: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in spec.items():
        if isinstance(value, Mapping) and value:
            yield from _lines(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", _text(value)


def _text(value: Any) -> str:
    """A value as a reader would write it."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and not any(isinstance(x, dict | list) for x in value):
        return ", ".join(map(_text, value))
    return json.dumps(value)


def parsed(text: object) -> dict[str, Any]:
    """A specification from its JSON; empty where there is none."""
    return json.loads(text) if isinstance(text, str) and text else {}
