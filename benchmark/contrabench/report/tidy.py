"""A report as one long list of cells, and its notes in pieces, for the formats that want these."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from contrabench.contracts.report import (
    DEVIATIONS,
    METHOD,
    MISSING,
    NAME,
    Column,
    Report,
    Table,
    is_missing,
    plain,
)

_CODE = re.compile(r"`([^`]*)`")

TIDY = (
    "dataset", "labels", "section", "protocol", "table", "row", "method", "deviations",
    "row_name", "part", "column", "structure", "heading", "metric", "kind", "value", "text",
)  # fmt: skip
"""The keys of a line of `tidy`."""


def tidy(report: Report) -> Iterator[dict[str, str | int | float | None]]:
    """Every cell of a report as one line, for formats that are read by a notebook.

    The keys are those of `TIDY` in this order, whatever the tables are: `row` from 0, `value` with
    all digits (None for a text or a missing number), `text` as every format shows it.
    """
    for section in report.sections:
        for table in section.tables:
            for row in range(len(table.data)):
                place: dict[str, str | int | float | None] = {
                    "dataset": plain(section.dataset),
                    "labels": plain(section.labels),
                    "section": plain(section.title),
                    "protocol": plain(section.protocol),
                    "table": plain(table.name),
                    "row": row,
                    **_names(table, row),
                }
                others = table.part(*table.parts)
                for column, text in zip(others, table.texts(row, others), strict=True):
                    yield place | {
                        "part": plain(column.part),
                        "column": plain(column.name),
                        "structure": plain(section.structure(column)),
                        "heading": plain(column.heading),
                        "metric": plain(column.metric),
                        "kind": column.kind,
                        "value": number_value(column, table.data[column.name].iloc[row]),
                        "text": text,
                    }


def _names(table: Table, row: int) -> dict[str, str]:
    """What a row is about: the method that it is one of, and what else names it."""
    named = table.part(NAME)
    texts = dict(zip((column.name for column in named), table.texts(row, named), strict=True))
    method, deviations = texts.pop(METHOD, ""), texts.pop(DEVIATIONS, "")
    return {"method": method, "deviations": deviations, "row_name": ", ".join(texts.values())}


def number_value(column: Column, value: Any) -> int | float | None:
    """A cell as the number it holds; None for a text and for what is missing."""
    if column.kind == "text" or is_missing(value):
        return None
    return round(value) if column.kind == "count" else float(value)


def with_interval(mean: str, low: str, high: str) -> str:
    """A number as it is written, and the ends of its interval if there is one."""
    return mean if MISSING in (low, high) else f"{mean} [{low}, {high}]"


def code_pieces(note: str) -> list[tuple[str, bool]]:
    """Cuts a note at the commands between its backticks: each piece, and whether it is one."""
    pieces = [(piece, number % 2 == 1) for number, piece in enumerate(_CODE.split(note))]
    return [(piece, is_code) for piece, is_code in pieces if piece]
