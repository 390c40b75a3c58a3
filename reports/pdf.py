"""The answer as a figure in PDF: the forest plot, or the curves over label budgets."""

from __future__ import annotations

from contrabench import ReportFormat, register_report
from contrabench.contracts.report import Report, ReportInfo


@register_report("pdf")
class PdfReport(ReportFormat):
    """One figure as wide as one or two columns of a journal; `--labels` chooses a label budget."""

    info = ReportInfo(title="the figure for a paper", suffix=".pdf", binary=True)

    def render(self, report: Report) -> bytes:
        """Returns the figure; RequestError if nothing is compared, or matplotlib is missing."""
        from contrabench.report.figures.make import figure

        return figure(report, "pdf")
