"""The lines for a README: the answer's own words and cells, and nothing that breaks out."""

import re

import pytest
from tests.makers.rows import results
from tests.report.test_answer import base, study

from contrabench.contracts.registry import reports
from contrabench.errors import RequestError
from contrabench.report.build import build_report

NASTY = "a|b_c[d=1]<b>`x`"


@pytest.fixture
def made(frame):
    rows = [*base(), *study(NASTY, 0.2, 2, "consistency"), *study("gcl", 0.0, 5, "contrast")]
    return build_report(results(frame(*rows)), "bench report --labels 10%")


def test_it_has_the_words_and_the_cells_of_the_answer(made):
    text = reports.get("readme")().render(made)
    (answer,) = (section.answer for section in made.sections if section.answer)
    badge, words, *lines = [line for line in text.splitlines() if line]
    shown = re.sub(r"\\(.)", r"\1", badge).replace("&lt;", "<").replace("&gt;", ">")
    assert shown == f"**{answer.short}** ({', '.join(answer.about)})"
    assert shown.startswith(f"**{NASTY} +0.")
    assert words.count("Dice over training from scratch") == 1
    heading, marks, *rows = [
        [re.sub(r"\\(.)", r"\1", cell.strip()) for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in lines
        if line.startswith("|")
    ]
    assert heading == ["Method", "Dice", "ASD mm", "vs scratch", "Group"]
    assert marks == ["---", "---:", "---:", "---:", "---"]
    assert len(rows) == len(answer.board.data) == 4
    for row, (_, cells) in zip(rows, answer.board.data.iterrows(), strict=True):
        assert row[0].replace("&lt;", "<").replace("&gt;", ">") == cells["Method"]
        assert row[1:3] == [f"{cells['Dice']:.3f}", f"{cells['ASD mm']:.2f}"]
        gain = "{vs scratch:+.3f} [{low:+.3f}, {high:+.3f}]".format(**cells)
        assert row[3] == ("–" if cells["Method"] == "scratch" else gain)
    assert "<" not in re.sub(r"`[^`]*`$", "", text)
    assert text.endswith("Made by `bench report --labels 10%`\n")


def test_a_report_without_an_answer_is_refused_in_a_line(report):
    with pytest.raises(RequestError, match="no answer of a label budget; leave out --section"):
        reports.get("readme")().render(report)
