"""Sentences and names as the page sets them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup, escape

from contrabench.report import code_pieces, plain

Note = list[tuple[str, bool]]
"""Pieces of a sentence, and whether each is a command."""

_JOINTS = re.compile(r"(?<=[_=])|(?=[(\[])")


def breakable(text: str) -> Markup:
    """A name, escaped, that may be broken where its parts begin."""
    return Markup(_JOINTS.sub("<wbr>", str(escape(text))))


def notes(lines: Sequence[str]) -> list[Note]:
    """Sentences cut at their commands, each on one line."""
    return [[(plain(piece), code) for piece, code in code_pieces(line)] for line in lines]
