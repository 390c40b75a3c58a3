"""LaTeX that compiles: balanced, escaped, as many cells as columns; and bold only for a winner."""

import dataclasses
import re
import shutil
import subprocess

import pytest

from contrabench.catalogue import reports

ALLOWED = {
    "begin", "end", "item", "centering", "caption", "resizebox", "ifdim", "width", "linewidth",
    "else", "fi", "toprule", "midrule", "bottomrule", "textbf", "texttt", "textbackslash",
    "textasciicircum", "textasciitilde", "textless", "textgreater", "textbar", "textasciigrave",
    "textquotesingle", "textendash",
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
        assert not set("#%_^~<>|") & set(text_only), line
        assert line.count("$") % 2 == 0
        for math in re.findall(r"\$(.*?)\$", line):
            assert re.fullmatch(r"[+-][\d.]+", math)
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
    assert all(line.startswith(r"\textbf{mmgl}") for line in bold)
    (section,) = report.sections
    tables = tuple(dataclasses.replace(table, leader=-1) for table in section.tables)
    nobody = dataclasses.replace(report, sections=(dataclasses.replace(section, tables=tables),))
    assert r"\textbf" not in reports.get("latex")().render(nobody)


def test_letters_beyond_ascii_are_accents_or_named(report):
    (section,) = report.sections
    named = dataclasses.replace(section, verdict=("Müller, naïve, Ångström, 中",))
    text = reports.get("latex")().render(dataclasses.replace(report, sections=(named,)))
    assert r"M\"{u}ller, na\"{\i}ve" in text
    assert "{[}U+4E2D{]}" in text
    assert text.isascii()


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_it_compiles(text, tmp_path):
    (tmp_path / "report.tex").write_text(text)
    (tmp_path / "main.tex").write_text(DOCUMENT)
    command = ["pdflatex", "-no-shell-escape", "-interaction=nonstopmode", "-halt-on-error", "main"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:].decode(errors="replace")
