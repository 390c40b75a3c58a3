"""Markdown in which every name stays what it is."""

from __future__ import annotations

import re
from collections.abc import Sequence

from contrabench.contracts.report import plain
from contrabench.report.tidy import code_pieces

_MARKUP = re.compile(r"[\\|*`\[\]~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def escape(text: str) -> str:
    """Writes any text so that Markdown and HTML show it as it is, on one line."""
    safe = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(lambda match: "\\" + match.group(), safe)


def note(words: str) -> str:
    """Escapes a note but keeps the commands in it."""
    return "".join(code(p) if is_code else escape(p) for p, is_code in code_pieces(words))


def code(text: str) -> str:
    """A command, or what else is typed."""
    return f"`{plain(text).replace('`', chr(39))}`"


def grid(headings: Sequence[str], is_text: Sequence[bool], rows: Sequence[Sequence[str]]) -> str:
    """A table; numbers stand to the right."""
    marks = ["---" if text else "---:" for text in is_text]
    lines = [list(map(escape, headings)), marks, *(list(map(escape, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
