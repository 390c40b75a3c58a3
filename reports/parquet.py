"""Every cell of a report as Parquet, one line per table, row and column, for a notebook."""

from __future__ import annotations

from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq

from contrabench import ReportFormat, register_report
from contrabench.contracts.report import Report, ReportInfo
from contrabench.report.tidy import TIDY, tidy

TYPES = {"row": pa.int32(), "value": pa.float64()}
"""Every other column is text."""


@register_report("parquet")
class ParquetReport(ReportFormat):
    """The columns of the CSV, typed; the value is null for a text and a missing number."""

    info = ReportInfo(title="tidy Parquet, one cell a line", suffix=".parquet", binary=True)

    def render(self, report: Report) -> bytes:
        """Returns the file; equal reports give equal bytes."""
        schema = pa.schema([(key, TYPES.get(key, pa.string())) for key in TIDY])
        table = pa.Table.from_pylist(list(tidy(report)), schema=schema)
        out = BytesIO()
        pq.write_table(table, out, compression="zstd")
        return out.getvalue()
