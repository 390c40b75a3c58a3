"""The answer as a figure in PNG: the forest plot, or the curves over label budgets."""

from __future__ import annotations

from contrabench import ReportFormat, register_report
from contrabench.contracts.report import Report, ReportInfo


@register_report("png")
class PngReport(ReportFormat):
    """One figure as wide as one or two columns of a journal; `--labels` chooses a label budget."""

    info = ReportInfo(title="the figure for a page", suffix=".png", binary=True)

    def render(self, report: Report) -> bytes:
        """Returns the figure; RequestError if nothing is compared, or matplotlib is missing."""
        from contrabench.report.figures.make import figure

        return figure(report, "png")
