"""The means of a report as tidy CSV: one line per table, method, structure and metric.

The rows of single cases are Parquet files in the store; this is the table of the means
behind the other formats, with all digits.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from io import StringIO
from typing import Any

from contrabench import ReportFormat, register_report
from contrabench.report import Column, Report, ReportInfo, Section, plain

ALL = "all"
"""Stands for the macro mean where a structure's name would."""


@register_report("csv")
class CsvReport(ReportFormat):
    """Text columns are repeated on every line; a missing value is an empty cell."""

    info = ReportInfo(title="tidy CSV of the means", suffix=".csv")

    def render(self, report: Report) -> str:
        """Returns CSV with a header; no cell can be taken for a formula."""
        lines = [line for section in report.sections for line in _lines(section)]
        keys = dict.fromkeys(key for line in lines for key in line)
        out = StringIO()
        writer = csv.DictWriter(out, list(keys), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
        return out.getvalue()


def _lines(section: Section) -> Iterator[dict[str, str]]:
    texts = [column for column in section.columns if column.kind == "text"]
    for _, row in section.table.iterrows():
        same = {"section": guard(section.title), "protocol": guard(section.protocol)}
        same |= {guard(column.name): guard(row[column.name]) for column in texts}
        for column in section.columns:
            if column.kind != "text":
                yield {
                    **same,
                    "structure": guard(column.structure or ALL),
                    "metric": guard(column.metric or column.name),
                    "value": _number(column, row[column.name]),
                }


def _number(column: Column, value: Any) -> str:
    number = float(value)
    if math.isnan(number):
        return ""
    return str(int(number)) if column.kind == "count" else repr(number)


def guard(text: object) -> str:
    """Keeps a spreadsheet from running a name that begins like a formula."""
    line = plain(text).strip()
    return f"'{line}" if line.startswith(("=", "+", "-", "@")) else line
