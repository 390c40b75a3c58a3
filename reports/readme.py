"""The answer for a README: a line of a few words, the sentences, and a table of five columns."""

from __future__ import annotations

from collections.abc import Iterator

from contrabench import ReportFormat, register_report
from contrabench.contracts.report import Answer, Report, ReportInfo, Table
from contrabench.errors import RequestError
from contrabench.report.marked import code, escape, grid, note
from contrabench.report.tidy import with_interval


@register_report("readme")
class ReadmeReport(ReportFormat):
    """For each label budget what a reader of a README asks; no picture and no network."""

    info = ReportInfo(title="a few lines of Markdown for a README", suffix=".readme.md")

    def render(self, report: Report) -> str:
        """Returns GitHub-flavoured Markdown; RequestError if the report has no answer."""
        answers = [section.answer for section in report.sections if section.answer]
        if not answers:
            raise RequestError(
                "this report holds no answer of a label budget; leave out --section and "
                "--compare, or choose --format markdown"
            )
        blocks = [block for answer in answers for block in _blocks(answer)]
        return "\n\n".join([*blocks, f"Made by {code(report.command)}"]) + "\n"


def _blocks(answer: Answer) -> Iterator[str]:
    yield f"**{escape(answer.short)}** ({escape(', '.join(answer.about))})"
    yield note(" ".join(answer.words))
    yield _table(answer.board)
    yield (f"In brackets: {escape(answer.basis)}. Methods that share a letter are not separated.")


def _table(board: Table) -> str:
    """Method, Dice, ASD, the difference with its interval, and the group."""
    by_kind = {
        kind: tuple(column for column in board.columns if column.kind == kind)
        for kind in ("score", "distance", "difference")
    }
    (group,) = (column for column in board.columns if column.name == "Group")
    shown = (board.columns[0], by_kind["score"][0], by_kind["distance"][0])
    gain = by_kind["difference"][:3]
    rows = [
        [
            *board.texts(row, shown),
            with_interval(*board.texts(row, gain)),
            *board.texts(row, (group,)),
        ]
        for row in range(len(board.data))
    ]
    headings = [*(column.heading for column in shown), gain[0].heading, group.heading]
    return grid(headings, (True, False, False, False, True), rows)
