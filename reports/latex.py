r"""The report as LaTeX tables (booktabs), to be read by `\input` in a paper."""

from __future__ import annotations

import math
import re
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence

from contrabench import ReportFormat, register_report
from contrabench.contracts.report import (
    DEVIATIONS,
    MISSING,
    NAME,
    NONE,
    Answer,
    Column,
    Report,
    ReportInfo,
    Section,
    Table,
    plain,
)
from contrabench.report.tidy import code_pieces

PREAMBLE = (
    "% A fragment for \\input; the preamble needs \\usepackage{booktabs} and "
    "\\usepackage{graphicx}.",
)
_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "`": r"\textasciigrave{}", "'": r"\textquotesingle{}", "[": "{[}", "]": "{]}",
    MISSING: r"\textendash{}", "±": r"$\pm$",
}  # fmt: skip
_ACCENTS = {"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"'}
_SIGNED = re.compile(r"(?<![^\s(\[])[+-]\d+(?:\.\d+)?(?![\w-])")
_SMALL = re.compile(r"(?<![^\s(\[])(\d)e-0*(\d+)(?![\w-])")
_SLUG = re.compile(r"[^a-z0-9]+")

WIDEST = 110
"""Characters beside each other that stay above 6 points of an A4 page's usual 345."""
GAP = 1.6
"""Room between two columns, in characters."""
POINTS = 5
"""Room of a character, about half an em."""
HEADING_WIDTH, TEXT_WIDTH = 9, 24
"""Characters at which a heading and a text are broken into lines."""


@register_report("latex")
class LatexReport(ReportFormat):
    """The leaderboard as a paper prints it, then a table for each part of each table.

    Bold where a method stands alone at the top.
    """

    info = ReportInfo(title="LaTeX tables (booktabs)", suffix=".tex")

    def render(self, report: Report) -> str:
        """Returns a fragment in plain ASCII; no name can be taken for a command."""
        lines = [*PREAMBLE, f"% Made by: {_comment(report.command)}"]
        taken: set[str] = set()
        for section in report.sections:
            if section.answer:
                lines += ["", *_first(section, section.answer, taken)]
        for section in report.sections:
            # Settings and manifests fill pages and belong into no table of a paper.
            if not section.is_appendix:
                lines += ["", *_section(section, taken)]
        return "\n".join(lines) + "\n"


def _first(section: Section, answer: Answer, taken: set[str]) -> Iterator[str]:
    """The leaderboard of one label budget."""
    board = answer.board
    groups = list(_groups(board))
    hours = "Hours: pre-training and fine-tuning of a run. " if "Hours" in dict(groups) else ""
    facts = f"{', '.join((*answer.about, *answer.setting))} (protocol {section.protocol})"
    said = (
        f"Dice and ASD: {facts}. Intervals: {answer.basis}. {hours}Methods that share a letter "
        "are not separated; bold: separated from every other."
    )
    yield f"% {_comment(section.title)}"
    yield r"\begin{table}[htbp]"
    yield r"\centering\setlength{\tabcolsep}{4pt}"
    yield rf"\caption{{{_note(said)}}}\label{{{_label(section, board, taken)}}}"
    yield r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
    shape = "".join(_alignment(columns[0]) for _, below in groups for columns in below.values())
    yield rf"\begin{{tabular}}{{{shape}}}"
    yield r"\toprule"
    tops, rules, place = [], "", 1
    for heading, below in groups:
        if len(below) > 1:
            tops.append(rf"\multicolumn{{{len(below)}}}{{c}}{{{escape(heading)}}}")
            rules += rf"\cmidrule(lr){{{place}-{place + len(below) - 1}}}"
        else:
            tops.append(escape(heading))
        place += len(below)
    yield _line(tops)
    yield rules
    yield _line([escape(words) for _, below in groups for words in below])
    yield r"\midrule"
    for row in range(len(board.data)):
        written = [board.texts(row, columns) for _, below in groups for columns in below.values()]
        texts = [", ".join(pair if pair != [MISSING] * 2 else pair[:1]) for pair in written]
        cells = [_cell(text) for text in texts]
        if row == board.leader:
            cells[:2] = map(_bold, cells[:2])
        yield _line(cells)
    yield r"\bottomrule"
    yield r"\end{tabular}}"
    yield r"\end{table}"


def _groups(board: Table) -> Iterator[tuple[str, dict[str, tuple[Column, ...]]]]:
    """The headings of the leaderboard: what stands under each, and the columns of each cell."""
    columns = list(board.columns)
    while columns:
        column = columns.pop(0)
        kinds = [other.kind for other in columns[:2]]
        if column.kind == "difference" and kinds == ["difference"] * 2:
            ends = (columns.pop(0), columns.pop(0))
            yield column.heading, {"mean": (column,), "95 % interval": ends}
        elif column.kind == "distance" and columns and columns[0].name == "median":
            yield column.heading, {"mean": (column,), "median": (columns.pop(0),)}
        elif any(board.texts(row, (column,)) != [MISSING] for row in range(len(board.data))):
            yield column.heading, {"": (column,)}


def _section(section: Section, taken: set[str]) -> Iterator[str]:
    yield f"% {_comment(section.title)}"
    # The tables float away; what stands here needs to say what it is about.
    if section.verdict or section.notes:
        yield rf"\paragraph{{{escape(section.title)}}}"
        yield from _list([*section.verdict, *section.notes])
    for table in section.tables:
        for caption in table.parts:
            blocks = list(_blocks(table, caption))
            for columns in blocks:
                is_last = caption == table.parts[-1] and columns is blocks[-1]
                notes = table.notes if is_last else ()
                label = _label(section, table, taken)
                yield from _float(section, table, caption, columns, label, notes)


def _label(section: Section, table: Table, taken: set[str]) -> str:
    r"""A name for `\ref` that another report of the same protocol has too, and no other table."""
    words = (section.dataset, section.labels, section.protocol[:8], table.name)
    stem = "-".join(_SLUG.sub("-", word.lower()).strip("-") for word in words if word)
    number = 1
    while f"tab:{stem}-{number}" in taken:
        number += 1
    taken.add(f"tab:{stem}-{number}")
    return f"tab:{stem}-{number}"


def _list(lines: Sequence[str]) -> Iterator[str]:
    if lines:
        # Long names are broken nowhere, and would stand out of the line.
        yield r"\begin{itemize}\sloppy"
        for line in lines:
            yield rf"\item {_note(line)}"
        yield r"\end{itemize}"


def _float(
    section: Section,
    table: Table,
    caption: str,
    columns: tuple[Column, ...],
    label: str,
    notes: Sequence[str],
) -> Iterator[str]:
    named = _named(table)
    keys = _keys(table, caption)
    title = escape(f"{caption}: {section.title} (protocol {section.protocol})")
    yield r"\begin{table}[htbp]"
    yield r"\centering\setlength{\tabcolsep}{4pt}"
    yield rf"\caption{{{title}.}}\label{{{label}}}"
    # Shrinks a table that is too wide, and never stretches one.
    yield r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
    shape = ("r" if keys else "") + "".join(map(_alignment, (*named, *columns)))
    yield rf"\begin{{tabular}}{{{shape}}}"
    yield r"\toprule"
    heads = [_heading(table, column, keys.get(column.name)) for column in (*named, *columns)]
    yield _line([r"\#", *heads] if keys else heads)
    yield r"\midrule"
    for row in range(len(table.data)):
        cells = [_cell(text) for text in table.texts(row, (*named, *columns))]
        cells = [str(row + 1), *cells] if keys else cells
        if row == table.leader:
            cells = [_bold(cell) for cell in cells]
        yield _line(cells)
        for deviation in _deviations(table, row):
            below = [*([""] if keys else []), rf"\quad {escape(f'+ {deviation}')}"]
            yield _line([*below, *[""] * (len(cells) - len(below))])
    yield r"\bottomrule"
    yield r"\end{tabular}}"
    for note in notes:
        yield rf"\par\smallskip\parbox{{\linewidth}}{{\footnotesize\sloppy {_note(note)}}}"
    yield r"\end{table}"


def _named(table: Table) -> tuple[Column, ...]:
    """The columns of names; deviations stand below the method that has some."""
    return tuple(column for column in table.part(NAME) if column.name != DEVIATIONS)


def _deviations(table: Table, row: int) -> list[str]:
    held = tuple(column for column in table.part(NAME) if column.name == DEVIATIONS)
    texts = [text for text in table.texts(row, held) if text != NONE]
    return [deviation for text in texts for deviation in text.split("; ")]


def _keys(table: Table, caption: str) -> dict[str, str]:
    """The number of each column of a square matrix of methods, which heads it for its name."""
    columns = table.part(caption)
    names = [table.texts(row, _named(table))[0] for row in range(len(table.data))]
    is_square = len(columns) == len(names) and all(
        plain(column.heading).startswith(name) and column.kind != "text"
        for column, name in zip(columns, names, strict=True)
    )
    return {c.name: str(n) for n, c in enumerate(columns, start=1)} if is_square else {}


def _blocks(table: Table, caption: str) -> Iterator[tuple[Column, ...]]:
    """The columns of a part, in as few tables of about equal size as can be read."""
    columns = table.part(caption)
    keys = _keys(table, caption)
    names = sum(_room(table, column, None) for column in _named(table)) + 4 * bool(keys)
    rooms = [_room(table, column, keys.get(column.name)) for column in columns]
    for count in range(1, len(columns) + 1):
        size = math.ceil(len(columns) / count)
        starts = range(0, len(columns), size)
        if size == 1 or all(names + sum(rooms[start : start + size]) <= WIDEST for start in starts):
            yield from (columns[start : start + size] for start in starts)
            return


def _room(table: Table, column: Column, key: str | None) -> float:
    """About how many characters a column is wide."""
    texts = [table.texts(row, (column,))[0] for row in range(len(table.data))]
    longest = max(map(len, texts), default=0)
    if column.name in {named.name for named in _named(table)}:
        below = [f"+ {text}" for row in range(len(table.data)) for text in _deviations(table, row)]
        longest = max([longest, *(len(text) + 2 for text in below)])
    elif column.kind == "text":
        longest = max(map(_text_width, texts), default=0)
    heads = [key] if key else _broken(table, column)
    return max([longest, *map(len, heads)]) + GAP


def _heading(table: Table, column: Column, key: str | None) -> str:
    """The number of a method, or the heading in short lines."""
    if key:
        return key
    lines = [escape(line) for line in _broken(table, column)]
    if len(lines) == 1:
        return lines[0]
    return rf"\shortstack[{_alignment(column)}]{{" + r"\\".join(lines) + "}"


def _broken(table: Table, column: Column) -> list[str]:
    heading = plain(column.heading)
    return textwrap.wrap(
        heading, HEADING_WIDTH, break_long_words=False, break_on_hyphens=False
    ) or [heading]


def _alignment(column: Column) -> str:
    return "l" if column.kind == "text" else "r"


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _bold(cell: str) -> str:
    r"""Bold also in formulas, which `\textbf` alone leaves as they are."""
    return rf"\textbf{{\boldmath {cell}}}"


def _cell(text: str) -> str:
    """A cell; signs of numbers are set as minus and plus, not as hyphens."""
    written = _prose(text)
    room = _text_width(text)
    if room == len(text):
        return written
    return rf"\parbox[t]{{{POINTS * room}pt}}{{\raggedright {written}\strut}}"


def _text_width(text: str) -> int:
    """How many characters of a text stand on a line; no word of it is broken."""
    return min(len(text), max(TEXT_WIDTH, *map(len, text.split()), 0))


def _prose(text: str) -> str:
    """Text with the signs and powers of the numbers in it set as such."""
    pieces, end = [], 0
    found = [*_SIGNED.finditer(text), *_SMALL.finditer(text)]
    for match in sorted(found, key=lambda match: match.start()):
        power = match.re is _SMALL
        number = rf"{match[1]}\times10^{{-{match[2]}}}" if power else match[0]
        pieces += [escape(text[end : match.start()]), f"${number}$"]
        end = match.end()
    return "".join([*pieces, escape(text[end:])])


def escape(text: str) -> str:
    """Writes any text in ASCII so that LaTeX shows it and runs none of it."""
    # Two hyphens would become a dash.
    return re.sub("-(?=-)", "-{}", "".join(_mark(mark) for mark in plain(text)))


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
        rf"\texttt{{{escape(piece)}}}" if is_code else _prose(piece)
        for piece, is_code in code_pieces(note)
    )


def _comment(text: str) -> str:
    """A comment ends with its line, which `plain` keeps whole."""
    return plain(text).encode("ascii", "backslashreplace").decode("ascii")
