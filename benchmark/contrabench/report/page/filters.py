"""What the filters of the page offer."""

from __future__ import annotations

import re
from collections.abc import Iterable

from contrabench.contracts.report import Report, plain

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(%?)")


def choices(report: Report) -> dict[str, list[str]]:
    """What each filter of the page offers, in the order of the sections."""
    known = [section.plot_data for section in report.sections if section.plot_data]
    return {
        "dataset": _each(part.dataset for part in report.sections if part.dataset),
        "labels": sorted(_each(p.labels for p in report.sections if p.labels), key=_size),
        "structure": _each(name for part in known for name in part.structures),
        "family": sorted(_each(name for part in known for name in part.methods["family"])),
    }


def _size(labels: str) -> tuple[bool, bool, float]:
    """Orders label budgets: counts before shares, each from few to many, then other names."""
    found = _SIZE.fullmatch(labels)
    return found is None, bool(found and found[2]), float(found[1]) if found else 0.0


def _each(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(plain(text) for text in texts))
