"""Numbers with their nouns."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """A count as a reader would write it: `1 patient`, `4 patients`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
