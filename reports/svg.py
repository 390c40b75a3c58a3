"""The answer as a figure in SVG: the forest plot, or the curves over label budgets."""

from __future__ import annotations

from contrabench import ReportFormat, register_report
from contrabench.contracts.report import Report, ReportInfo


@register_report("svg")
class SvgReport(ReportFormat):
    """One figure as wide as one or two columns of a journal; `--labels` chooses a label budget."""

    info = ReportInfo(title="the figure for a paper, with text as text", suffix=".svg")

    def render(self, report: Report) -> str:
        """Returns the figure; RequestError if nothing is compared, or matplotlib is missing."""
        from contrabench.report.figures.make import figure

        return figure(report, "svg").decode("utf-8")
