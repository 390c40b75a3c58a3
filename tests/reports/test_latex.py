"""LaTeX that compiles: balanced, escaped, as many cells as columns; and bold only for a winner."""

import dataclasses
import re
import shutil
import subprocess

import pandas as pd
import pytest
from tests.makers.rows import results
from tests.report.test_answer import base, study

from contrabench.contracts.registry import reports
from contrabench.contracts.report import NAME, Column, Table
from contrabench.report.build import build_report

NAMES = (Column("Method", "text", NAME), Column("Deviations", "text", NAME))
ALLOWED = {
    "begin", "end", "item", "centering", "caption", "resizebox", "ifdim", "width", "linewidth",
    "else", "fi", "toprule", "midrule", "bottomrule", "textbf", "texttt", "textbackslash",
    "textasciicircum", "textasciitilde", "textless", "textgreater", "textbar", "textasciigrave",
    "textquotesingle", "textendash", "paragraph", "label", "setlength", "tabcolsep", "shortstack",
    "parbox", "raggedright", "strut", "boldmath", "times", "quad", "par", "smallskip",
    "footnotesize", "sloppy", "pm",
}  # fmt: skip
DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs}
\usepackage{graphicx}
\begin{document}
\input{report}
\end{document}
"""


@pytest.fixture
def text(report):
    return reports.get("latex")().render(report)


def code(text):
    """The lines that are no comments, without escaped characters."""
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    return re.sub(r"\\[\\{}$&#%_]", "", "\n".join(lines).replace("{!}{%", "{!}{"))


def test_only_known_commands_are_left(text):
    assert set(re.findall(r"\\([A-Za-z]+)", code(text))) <= ALLOWED
    assert text.isascii()


def test_braces_and_environments_are_balanced(text):
    depth = 0
    for mark in code(text):
        depth += {"{": 1, "}": -1}.get(mark, 0)
        assert depth >= 0
    assert depth == 0
    open_ones = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            open_ones.append(name)
        else:
            assert open_ones.pop() == name
    assert open_ones == []


def test_nothing_special_is_left_unescaped(text):
    for line in code(text).splitlines():
        text_only = line.replace(r"\ifdim\width>\linewidth", "")
        formulas = re.findall(r"\$(.*?)\$", line)
        assert line.count("$") == 2 * len(formulas)
        for formula in formulas:
            assert re.fullmatch(r"[+-][\d.]+|\\pm|\d\\times10\^\{-\d+\}", formula)
            text_only = text_only.replace(f"${formula}$", "")
        assert not set("#%_^~<>|") & set(text_only), line
        assert "&" not in line or not line.startswith((r"\item", r"\caption"))


def test_every_line_has_as_many_cells_as_its_table_has_columns(text):
    tables = re.findall(r"\\begin\{tabular\}\{([lr]+)\}(.*?)\\end\{tabular\}", text, re.DOTALL)
    assert tables
    for columns, body in tables:
        for line in body.splitlines():
            if "&" in line.replace(r"\&", ""):
                assert line.replace(r"\&", "").count("&") == len(columns) - 1
                assert line.endswith(r" \\")


def test_bold_is_for_a_method_that_stands_alone(report, text):
    bold = [line for line in text.splitlines() if r"\textbf" in line]
    assert bold
    rows = (r"\textbf{\boldmath mmgl}", r"\textbf{\boldmath 1} & \textbf{\boldmath mmgl}")
    assert all(line.startswith(rows) for line in bold)
    assert all(cell.startswith(r"\textbf{\boldmath") for cell in bold[0].split(" & "))
    (section,) = report.sections
    tables = tuple(dataclasses.replace(table, leader=-1) for table in section.tables)
    nobody = dataclasses.replace(report, sections=(dataclasses.replace(section, tables=tables),))
    assert r"\textbf" not in reports.get("latex")().render(nobody)


def with_section(report, **changes):
    (section,) = report.sections
    return dataclasses.replace(report, sections=(dataclasses.replace(section, **changes),))


def test_a_verdict_stands_under_its_title_and_a_note_in_its_float(report):
    titled = with_section(report, title="phantom at 10%")
    lines = reports.get("latex")().render(titled).splitlines()
    place = lines.index(r"\paragraph{phantom at 10\%}")
    assert lines[place + 1 : place + 3] == [r"\begin{itemize}\sloppy", r"\item better: mmgl"]
    note = next(i for i, line in enumerate(lines) if r"50\% \& more" in line)
    before = [line for line in lines[:note] if "{table}" in line]
    assert before[-1].startswith(r"\begin{table}")
    silent = with_section(report, verdict=(), notes=())
    assert r"\paragraph" not in reports.get("latex")().render(silent)


def test_no_appendix_is_set(report):
    named = with_section(report, dataset="phantom", title="settings of all", is_appendix=True)
    both = dataclasses.replace(report, sections=(*report.sections, *named.sections))
    assert "settings of all" in reports.get("latex")().render(
        with_section(named, is_appendix=False)
    )
    assert reports.get("latex")().render(both) == reports.get("latex")().render(report)


def test_two_hyphens_stay_two(report):
    """LaTeX would set them as a dash."""
    lines = ("fine--tuned", "say `bench run --labels 10%`")
    text = reports.get("latex")().render(with_section(report, title="a---b", verdict=lines))
    body = "\n".join(each for each in text.splitlines() if not each.startswith("%"))
    assert r"\paragraph{a-{}-{}-b}" in body
    assert r"\item fine-{}-tuned" in body
    assert r"\texttt{bench run -{}-labels 10\%}" in body
    assert "--" not in body


def test_every_table_has_a_label_of_its_own_that_stays(report):
    def labels(made):
        return re.findall(r"\\label\{(.*?)\}", reports.get("latex")().render(made))

    named = with_section(report, dataset="phantom", labels="10%", title="a")
    twice = dataclasses.replace(named, sections=named.sections * 2)
    text = reports.get("latex")().render(twice)
    found = labels(twice)
    assert len(found) == len(set(found)) == text.count(r"\begin{table}")
    assert labels(with_section(named, title="another", verdict=())) == labels(named)
    assert labels(named)[0] == "tab:phantom-10-ab12cd34-leaderboard-1"
    assert all(re.fullmatch(r"tab:[a-z0-9-]+", label) for label in found)


def test_signs_and_powers_in_prose_are_no_hyphens(report):
    lines = ("hu -0.006 (p 2e-06), [-0.041, +0.029]; a-1 x[t=-0.1] v2e-06 `run --n -3`",)
    text = reports.get("latex")().render(with_section(report, verdict=lines))
    wanted = (
        r"hu $-0.006$ (p $2\times10^{-6}$), {[}$-0.041$, $+0.029${]}; "
        r"a-1 x{[}t=-0.1{]} v2e-06 \texttt{run -{}-n -3}"
    )
    assert rf"\item {wanted}" in text


def many(count):
    """A matrix of so many methods, the last of which has a deviation."""
    names = [f"method_with_a_name_{number}" for number in range(count)]
    columns = [Column(f"minus {name}", "difference", "Minus", name) for name in names]
    data = pd.DataFrame({"Method": names, "Deviations": ["none"] * (count - 1) + ["one; two"]})
    data[[column.name for column in columns]] = 0.25
    return Table("pairs", (*NAMES, *columns), data)


@pytest.mark.parametrize("count", [2, 13, 30])
def test_no_table_is_shrunk_beyond_reading(report, count):
    text = reports.get("latex")().render(with_section(report, tables=(many(count),), notes=()))
    heads = re.findall(r"\\toprule\n(.*) \\\\\n", text)
    numbers = [number for head in heads for number in head.split(" & ")[2:]]
    assert numbers == [str(number + 1) for number in range(count)]
    assert (len(heads) > 1) == (count > 10)
    for body in re.findall(r"\\toprule\n(.*?)\\bottomrule", text, re.DOTALL):
        rows = [line.replace("$", "").split(" & ") for line in body.splitlines() if "&" in line]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        # Half an em a letter, 8 points between columns, 345 points a line: 6 of 10 points.
        assert sum(widths) * 5 + 8 * len(widths) <= 345 / 0.6
    assert "Deviations" not in text
    assert text.count(r"\quad + one") == text.count(r"\quad + two") == len(heads)


@pytest.mark.parametrize(
    ("text", "points"), [("x" * 40 + " and more", 200), ("word " * 9, 120), ("word " * 4, None)]
)
def test_a_long_text_is_broken_but_no_word_of_it(report, text, points):
    columns = (NAMES[0], Column("Next", "text", "Next"))
    data = pd.DataFrame({"Method": ["mmgl"], "Next": [text]})
    made = with_section(report, tables=(Table("next", columns, data),), verdict=(), notes=())
    cell = re.search(r"\nmmgl & (.*) \\\\", reports.get("latex")().render(made))[1]
    box = rf"\parbox[t]{{{points}pt}}{{\raggedright {text.strip()}\strut}}"
    assert cell == (box if points else text.strip())


def test_letters_beyond_ascii_are_accents_or_named(report):
    (section,) = report.sections
    named = dataclasses.replace(section, verdict=("Müller, naïve, Ångström, 中",))
    text = reports.get("latex")().render(dataclasses.replace(report, sections=(named,)))
    assert r"M\"{u}ller, na\"{\i}ve" in text
    assert "{[}U+4E2D{]}" in text
    assert text.isascii()


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_it_compiles(text, tmp_path):
    compiled(text, tmp_path)


def compiled(text, tmp_path):
    (tmp_path / "report.tex").write_text(text)
    (tmp_path / "main.tex").write_text(DOCUMENT)
    command = ["pdflatex", "-no-shell-escape", "-interaction=nonstopmode", "-halt-on-error", "main"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:].decode(errors="replace")


def answered(frame, *methods):
    made = build_report(results(frame(*base(), *methods)), "bench report")
    (answer,) = (section.answer for section in made.sections if section.answer)
    return made, answer.board


def first_table(text):
    body = re.search(
        r"\\begin\{tabular\}\{([lr]+)\}\n\\toprule\n(.*?)\\bottomrule", text, re.DOTALL
    )
    rules = r"\n(\\cmidrule\(lr\)\{\d-\d\})+\n|\n\\midrule\n"
    blocks = re.split(rules, body[2].strip())
    return body[1], [re.split(r"(?<!\\) & ", line.removesuffix(r" \\"))
                     for line in blocks[-1].splitlines()], body[2]  # fmt: skip


def test_the_first_table_is_the_leaderboard_as_a_paper_prints_it(frame):
    gcl, bcp = study("gcl", 0.0, 5, "contrast before"), study("bcp", 0.2, 3, "consistency")
    made, board = answered(frame, *gcl, *bcp)
    text = reports.get("latex")().render(made)
    shape, rows, body = first_table(text)
    assert board.leader >= 0
    assert r"\multicolumn{2}{c}{ASD mm} & \multicolumn{2}{c}{vs scratch}" in body
    assert r"\cmidrule(lr){3-4}\cmidrule(lr){5-6}" in body
    assert len(rows) == len(board.data)
    for number, (row, (_, cells)) in enumerate(zip(rows, board.data.iterrows(), strict=True)):
        assert len(row) == len(shape)
        bold = [cell.startswith(r"\textbf") for cell in row]
        assert bold == [place < 2 and number == board.leader for place in range(len(row))]
        name, dice = (re.sub(r"\\textbf\{\\boldmath (.*)\}", r"\1", cell) for cell in row[:2])
        assert (name, dice) == (cells["Method"].replace("_", r"\_"), f"{cells['Dice']:.3f}")
        assert row[2:4] == [f"{cells['ASD mm']:.2f}", f"{cells['median']:.2f}"]
        if name == "scratch":
            assert row[4:6] == [r"\textendash{}"] * 2
        else:
            assert row[4] == f"${cells['vs scratch']:+.3f}$".replace("$+0.000$", "0.000")
            assert row[5] == f"${cells['low']:+.3f}$, ${cells['high']:+.3f}$"
    caption = re.search(r"\\caption\{(.*?)\}\\label", text)[1]
    told = next(section.answer for section in made.sections if section.answer)
    assert told.basis.replace("%", r"\%") in caption
    assert text.index(caption) < text.index(r"\paragraph")


def test_nobody_is_bold_where_nobody_is_separated(frame):
    made, board = answered(frame, *study("gcl", 0.0, 5, "contrast before"))
    assert board.leader < 0
    assert r"\textbf" not in first_table(reports.get("latex")().render(made))[2]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_the_first_table_compiles(frame, tmp_path):
    made, _ = answered(frame, *study("a_b[c=1]", 0.2, 5, "contrast before"))
    compiled(reports.get("latex")().render(made), tmp_path)
