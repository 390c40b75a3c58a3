"""What the page is called: its data, its labels, and what won."""

from __future__ import annotations

from collections.abc import Iterable

from contrabench.contracts.report import Report, Section, plain
from contrabench.references import REFERENCE
from contrabench.text import budget_words, listed_words

_NAMED = 3


def heading(report: Report) -> str:
    """Datasets and label budgets; of a comparison what its first section is called."""
    told = [section for section in report.sections if section.answer]
    if not told:
        named = [section.title for section in report.sections if not section.is_appendix]
        return plain(next(iter(named), "Nothing to report"))
    datasets = listed_words(_each(section.dataset for section in told))
    return plain(f"{datasets}, {budget_words(_each(section.labels for section in told))}")


def title(report: Report) -> str:
    """The heading, and which method is best with which labels."""
    told = [section for section in report.sections if section.answer]
    won = _won(told)
    return f"{heading(report)}: {won}" if won else heading(report)


def _won(told: Iterable[Section]) -> str:
    """`unimatch wins`, or each winner with where it wins."""
    best = [(section, section.answer.best) for section in told if section.answer]
    names = _each(name for _, name in best)
    if not names:
        return ""
    if names == [""]:
        return f"nothing is shown to beat {REFERENCE}"
    if len(names) == 1:
        return plain(f"{names[0]} wins")
    if len(names) > _NAMED or len({section.dataset for section, _ in best}) > 1:
        return plain(f"{listed_words([name for name in names[:_NAMED] if name])} win")
    where = {name: [section.labels for section, other in best if other == name] for name in names}
    return plain(
        ", ".join(f"{name or 'nothing'} ({', '.join(labels)})" for name, labels in where.items())
    )


def _each(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))
