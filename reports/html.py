"""The report as one page that needs no server and no network."""

from __future__ import annotations

from contrabench import ReportFormat, register_report
from contrabench.contracts.report import Report, ReportInfo, plain


@register_report("html")
class HtmlReport(ReportFormat):
    """The verdict first, then plots and every table, to sort, filter and print.

    Plots need the extra `html`; without it the page says so and has the tables alone.
    """

    info = ReportInfo(title="one self-contained page", suffix=".html", pictures=True)

    def render(self, report: Report) -> str:
        """Returns one HTML document that holds its style, its scripts and all data."""
        from jinja2 import Environment, PackageLoader, StrictUndefined

        from contrabench.report.page import drawing, filters, texts, view

        setting = Environment(
            loader=PackageLoader("contrabench.report", "page"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        setting.filters["breakable"] = texts.breakable
        setting.filters["typeset"] = texts.typeset
        page = setting.get_template("report.html.jinja").render(
            sections=view.sections(report),
            choices=filters.choices(report),
            command=plain(report.command),
            library=drawing.library(),
            data=drawing.data(report),
        )
        return page.strip() + "\n"
