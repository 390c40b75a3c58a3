"""Exhibits as files: each once, named after its section, referred to from the report."""

from dataclasses import replace

import pandas as pd
import pytest

from contrabench.contracts.registry import reports
from contrabench.contracts.report import NAME, Column, Report, Section, Table
from contrabench.report.gallery.make import make_gallery
from contrabench.report.gallery.svg import exhibit_svg, write_pictures


@pytest.fixture
def report(store, budget, runs):
    columns = (Column("Method", "text", NAME), Column("Dice", "score", "Results"))
    table = Table("leaderboard", columns, pd.DataFrame({"Method": ["a"], "Dice": [0.5]}))
    section = Section("phantom, 10% of the labels", "ab12cd34ef56ab12", (table,))
    drawn = replace(section, gallery=make_gallery(store, budget, runs))
    return Report((drawn, section), pd.DataFrame(), "bench report")


def test_files_hold_the_exhibits_and_the_report_refers_to_them(report, tmp_path):
    made = write_pictures(report, tmp_path / "docs" / "pictures", tmp_path / "docs")
    gallery = made.sections[0].gallery
    assert gallery.exhibits
    for before, after in zip(report.sections[0].gallery.exhibits, gallery.exhibits, strict=True):
        assert after == replace(before, file=after.file)
        assert after.file.startswith("pictures/phantom-10-of-the-labels-ab12-")
        text = (tmp_path / "docs" / after.file).read_text(encoding="utf-8")
        assert text == exhibit_svg(before, gallery.structures)
    assert len({exhibit.file for exhibit in gallery.exhibits}) == len(gallery.exhibits)
    assert made.sections[1] == report.sections[1]


def test_markdown_shows_files_and_nothing_without_them(report, tmp_path):
    made = write_pictures(report, tmp_path / "pictures", tmp_path)
    text = reports.get("markdown")().render(made)
    for exhibit in made.sections[0].gallery.exhibits:
        assert f"]({exhibit.file})" in text
    assert "![" not in reports.get("markdown")().render(report)


def test_names_that_would_break_out_of_a_reference_do_not(report, tmp_path):
    (drawn, other) = report.sections
    (first, *_) = drawn.gallery.exhibits
    odd = replace(first, patient="](x) <b>", word="../worst (one)")
    gallery = replace(drawn.gallery, exhibits=(odd,))
    report = replace(report, sections=(replace(drawn, gallery=gallery), other))
    made = write_pictures(report, tmp_path / "some (folder)", tmp_path)
    (file,) = (tmp_path / "some (folder)").iterdir()
    assert file.suffix == ".svg"
    text = reports.get("markdown")().render(made)
    assert "](some%20%28folder%29/" in text
    assert "](x)" not in text.replace("\\](x)", "")  # escaped, it is no link
    assert "<b>" not in text
