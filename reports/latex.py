r"""The report as LaTeX tables (booktabs), to be read by `\input` in a paper."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from contrabench import ReportFormat, register_report
from contrabench.report import (
    MISSING,
    NAME,
    Column,
    Report,
    ReportInfo,
    Section,
    Table,
    code_pieces,
    plain,
)

PREAMBLE = (
    "% A fragment for \\input; the preamble needs \\usepackage{booktabs} and "
    "\\usepackage{graphicx}.",
)
_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "`": r"\textasciigrave{}", "'": r"\textquotesingle{}", "[": "{[}", "]": "{]}",
    MISSING: r"\textendash{}",
}  # fmt: skip
_ACCENTS = {"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"'}
_NUMBER = re.compile(r"[+-][\d.]+(?:e[+-]\d+)?")


@register_report("latex")
class LatexReport(ReportFormat):
    """One table for each part of each table; bold where a method stands alone at the top."""

    info = ReportInfo(title="LaTeX tables (booktabs)", suffix=".tex")

    def render(self, report: Report) -> str:
        """Returns a fragment in plain ASCII; no name can be taken for a command."""
        lines = [*PREAMBLE, f"% Made by: {_comment(report.command)}"]
        for section in report.sections:
            # Settings and manifests fill pages and belong into no table of a paper.
            if not section.is_appendix:
                lines += ["", *_section(section)]
        return "\n".join(lines) + "\n"


def _section(section: Section) -> Iterator[str]:
    yield f"% {_comment(section.title)}"
    yield from _list(section.verdict)
    for table in section.tables:
        for caption in table.parts:
            yield from _table(section, table, caption)
        yield from _list(table.notes)
    yield from _list(section.notes)


def _list(lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield r"\begin{itemize}"
        for line in lines:
            yield rf"\item {_note(line)}"
        yield r"\end{itemize}"


def _table(section: Section, table: Table, caption: str) -> Iterator[str]:
    columns = table.part(NAME, caption)
    title = escape(f"{caption}: {section.title} (protocol {section.protocol})")
    yield r"\begin{table}[htbp]"
    yield r"\centering"
    yield rf"\caption{{{title}.}}"
    # Shrinks a table that is too wide, and never stretches one.
    yield r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
    yield rf"\begin{{tabular}}{{{''.join(map(_alignment, columns))}}}"
    yield r"\toprule"
    yield _line([escape(column.heading) for column in columns])
    yield r"\midrule"
    for row in range(len(table.data)):
        cells = [_cell(text) for text in table.texts(row, columns)]
        if row == table.leader:
            cells = [rf"\textbf{{{cell}}}" for cell in cells]
        yield _line(cells)
    yield r"\bottomrule"
    yield r"\end{tabular}}"
    yield r"\end{table}"


def _alignment(column: Column) -> str:
    return "l" if column.kind == "text" else "r"


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _cell(text: str) -> str:
    """A cell; signs of numbers are set as minus and plus, not as hyphens."""
    return f"${text}$" if _NUMBER.fullmatch(text) else escape(text)


def escape(text: str) -> str:
    """Writes any text in ASCII so that LaTeX shows it and runs none of it."""
    # Two hyphens would become a dash.
    return "".join(_mark(mark) for mark in plain(text)).replace("--", "-{}-")


def _mark(mark: str) -> str:
    if mark in _SPECIAL:
        return _SPECIAL[mark]
    if mark.isascii():
        return mark
    parts = unicodedata.normalize("NFD", mark)
    base, accent = parts[0], parts[1:]
    if base.isascii() and base.isalpha() and accent in _ACCENTS:
        # The dot of these two would stand below the accent.
        letter = rf"\{base}" if base in "ij" else base
        return rf"\{_ACCENTS[accent]}{{{letter}}}"
    return f"{{[}}U+{ord(mark):04X}{{]}}"


def _note(note: str) -> str:
    """Escapes a note and sets the commands in it in typewriter."""
    return "".join(
        rf"\texttt{{{escape(piece)}}}" if is_code else escape(piece)
        for piece, is_code in code_pieces(note)
    )


def _comment(text: str) -> str:
    """A comment ends with its line, which `plain` keeps whole."""
    return plain(text).encode("ascii", "backslashreplace").decode("ascii")
