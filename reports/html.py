"""The report as one page that needs no server and no network."""

from __future__ import annotations

from functools import partial

from contrabench import ReportFormat, register_report
from contrabench.contracts.report import Report, ReportInfo, number_text
from contrabench.report.tidy import code_pieces


@register_report("html")
class HtmlReport(ReportFormat):
    """The answer of each label budget on a screen, then plots and every table, folded.

    Plots need the extra `html`; without it the page says so and has the tables alone. The forest
    plot needs neither it nor scripts.
    """

    info = ReportInfo(title="one self-contained page", suffix=".html", pictures=True)

    def render(self, report: Report) -> str:
        """Returns one HTML document that holds its style, its scripts and all data."""
        from jinja2 import Environment, PackageLoader, StrictUndefined

        from contrabench.report.gallery.svg import hue
        from contrabench.report.page import points, titles, view
        from contrabench.report.page.packed import packed

        setting = Environment(
            loader=PackageLoader("contrabench.report", "page"),
            autoescape=True,
            finalize=view.shown,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        setting.filters |= {
            "breakable": view.breakable,
            "typeset": view.typeset,
            "pieces": code_pieces,
            "score": partial(number_text, "score"),
            "packed": packed,
        }
        groups = view.groups(report)
        page = setting.get_template("report.html.jinja").render(
            groups=groups,
            several=sum(len(group.heads) for group in groups) > 1,
            title=titles.title(report),
            heading=titles.heading(report),
            choices=view.choices(report),
            command=report.command,
            library=points.library(),
            data=points.data(report),
            means_only=points.means_only,
            hue=hue,
        )
        return page.strip() + "\n"
