"""Every cell of a report as tidy CSV: one line per table, row and column.

The rows of single cases are Parquet files in the store; this is what the tables of the
other formats are made of, with all digits.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from io import StringIO
from typing import Any

from contrabench import ReportFormat, register_report
from contrabench.contracts.report import Report, ReportInfo, plain
from contrabench.report.tidy import TIDY, tidy


@register_report("csv")
class CsvReport(ReportFormat):
    """The value with all digits, and the text that the other formats show."""

    info = ReportInfo(title="tidy CSV, one cell a line", suffix=".csv")

    def render(self, report: Report) -> str:
        """Returns CSV with a header; no cell can be taken for a formula."""
        out = StringIO()
        writer = csv.DictWriter(out, TIDY, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_guarded(line) for line in tidy(report))
        return out.getvalue()


def _guarded(line: Mapping[str, Any]) -> dict[str, Any]:
    # A number that is shown with its sign is one to a spreadsheet as well.
    safe = ("row", "value") if line["kind"] == "text" else ("row", "value", "text")
    return {key: cell if key in safe else guard(cell) for key, cell in line.items()}


def guard(text: object) -> str:
    """Keeps a spreadsheet from running a name that begins like a formula."""
    line = plain(text).strip()
    return f"'{line}" if line.startswith(("=", "+", "-", "@")) else line
