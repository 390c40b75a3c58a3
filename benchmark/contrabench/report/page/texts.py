"""Sentences and names as the page sets them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup, escape

from contrabench.contracts.report import code_pieces, plain

Note = list[tuple[str, bool]]
"""Pieces of a sentence, and whether each is a command."""

_JOINTS = re.compile(r"(?<=[_=,.])|(?=[(\[])")
_MINUS = re.compile(r"(?:(?<=\s)|(?<=\())-(?=\d)")
_SIGNED = re.compile(r" (?=[+\u2212]\d)")


def breakable(text: str) -> Markup:
    """A name, escaped, that may be broken where its parts begin."""
    return Markup(_JOINTS.sub("<wbr>", str(escape(text))))


def typeset(text: str) -> Markup:
    """A piece of a sentence, escaped: a true minus, and signed numbers beside their names."""
    return Markup(_SIGNED.sub("&nbsp;", _MINUS.sub("\u2212", str(escape(text)))))


def notes(lines: Sequence[str]) -> list[Note]:
    """Sentences cut at their commands, each on one line."""
    return [[(plain(piece), code) for piece, code in code_pieces(line)] for line in lines]
