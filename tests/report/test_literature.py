"""The published numbers beside ours: which are chosen, and that nothing is made of them."""

import csv
import math
from importlib.resources import files

import pandas as pd
import pytest

from contrabench.contracts.registry import reports
from contrabench.contracts.report import Report, Section, is_missing
from contrabench.references import FULL_SUPERVISION
from contrabench.report import literature as module
from contrabench.report.entries import Entry, LabelBudget
from contrabench.report.literature import literature_table
from contrabench.report.published import Literature, literature

FOLDER = files("contrabench.report.published")


def lines(name):
    return list(csv.DictReader(FOLDER.joinpath(name).read_text("utf-8").splitlines()))


def entry(name, dice, deviations=""):
    scores = pd.DataFrame({"dice": [dice - 0.1, dice + 0.1], "asd_mm": [1.0, 2.0]})
    return Entry(name, deviations, pd.DataFrame(), scores)


def budget(dataset="mmwhs", labelled=2, fraction=0.1, entries=(), labels="10%"):
    counts = [labelled] if isinstance(labelled, int) else labelled
    rows = pd.DataFrame({"dataset": dataset, "labelled_patients": counts})
    return LabelBudget(labels, fraction, rows, tuple(entries), "asd_mm")


def near(row, labelled, fraction):
    """The ratio of labels, at least 1; of patients where their number is known."""
    ratio = (
        float(row["labelled_patients"]) / labelled
        if row["labelled_patients"]
        else float(row["fraction"]) / fraction
    )
    return max(ratio, 1 / ratio)


def wanted(dataset, labelled, fraction):
    """Source, method and label budget of every row, by looking at every line of the files."""
    found = []
    for source in lines("sources.csv"):
        rows = [
            r
            for r in lines("numbers.csv")
            if (r["source"], r["metric"]) == (source["id"], "dice") and source["dataset"] == dataset
        ]
        best = min((near(r, labelled, fraction) for r in rows), default=math.inf)
        if best <= 1.5 + 1e-9:
            kept = [r for r in rows if near(r, labelled, fraction) == best]
            found += sorted(kept, key=lambda r: -float(r["value"]))
    return found


@pytest.mark.parametrize("dataset", ["mmwhs", "acdc"])
@pytest.mark.parametrize(
    ("labelled", "fraction"),
    [(1, 0.06), (2, 0.1), (3, 0.15), (4, 0.25), (6, 0.4), (8, 0.1), (16, 1.0), (80, 1.0)],
)
def test_rows_are_those_that_a_search_through_all_lines_finds(dataset, labelled, fraction):
    rows = wanted(dataset, labelled, fraction)
    table = literature_table(budget(dataset, labelled, fraction))
    if not rows:
        assert table is None
        return
    sources = {row["id"]: row for row in lines("sources.csv")}
    asd = {(r["source"], r["method"], r["labels"]): r for r in lines("numbers.csv")
           if r["metric"] == "asd"}  # fmt: skip
    assert len(table.data) == len(rows)
    for cells, row in zip(table.data.to_dict("records"), rows, strict=True):
        source, distance = (
            sources[row["source"]],
            asd.get((row["source"], row["method"], row["labels"])),
        )
        assert cells["Method"] == row["method"]
        assert cells["Labels"] == row["labels"]
        assert cells["Source"] == source["name"]
        assert cells["Their Dice"] == float(row["value"])
        assert (cells["Comparable"], cells["Why"]) == (source["comparable"], source["why"])
        assert math.isnan(cells["Our Dice"])
        if row["spread"]:
            assert cells["Their SD"] == float(row["spread"])
        else:
            assert math.isnan(cells["Their SD"])
        if distance:
            assert float(cells["Their ASD"].split()[0]) == float(distance["value"])
            assert cells["Their ASD"].split()[1] == distance["unit"]
        else:
            assert is_missing(cells["Their ASD"])


def test_the_tables_of_known_budgets_hold_the_known_sources():
    def sources(*about):
        return list(dict.fromkeys(literature_table(budget(*about)).data["Source"]))

    assert sources("mmwhs", 2, 0.1) == ["MACL 2026, Table I", "Peng 2021, poster"]
    assert sources("mmwhs", 16, 1.0) == ["MACL 2026, Table I"]
    assert sources("acdc", 8, 0.1) == [
        "MACL 2026, Table I", "MACL 2026, Table XII", "UniMatch 2023, README",
    ]  # fmt: skip


def test_the_mean_over_folds_is_what_counts_as_ours():
    assert literature_table(budget(labelled=[3, 3, 4])).data["Labels"].tolist()[0] == "25%"
    assert literature_table(budget(labelled=[7, 7, 7], fraction=0.4)) is None


def test_ours_stands_beside_the_same_method_alone():
    ours = [
        entry("gcl", 0.7), entry("simclr", 0.5, "recipe"), entry("pcl (version 1)", 0.6),
        entry("self_paced", 0.8), entry("global_local", 0.8), entry(FULL_SUPERVISION, 0.9),
        entry("scratch", math.nan),
    ]  # fmt: skip
    data = literature_table(budget(entries=ours)).data
    given = data[data["Our Dice"].notna()]
    assert given["Method"].tolist() == ["GCL"]
    assert given["Our Dice"].tolist() == pytest.approx([0.7])


def test_at_all_labels_scratch_is_what_is_printed_as_such():
    at_all = budget(
        labelled=16, fraction=1.0, entries=[entry("scratch", 0.9), entry("gcl", 0.7)], labels="100%"
    )
    data = literature_table(at_all).data
    assert data["Method"].tolist() == ["Scratch"]
    assert data["Their Dice"].tolist() == [0.9227]
    assert data["Our Dice"].tolist() == pytest.approx([0.9])


def test_numbers_about_the_other_modality_are_left_out_where_it_is_known():
    assert literature_table(budget(), {"modality": "mr"}) is None
    about_ct = literature_table(budget(), {"modality": "ct", "other": 3})
    assert about_ct.data.equals(literature_table(budget()).data)
    assert literature_table(budget("acdc", 8), {"modality": "mr"}) is not None


@pytest.mark.parametrize(
    "name", ["phantom", "", "mmwhs ", "MMWHS", "mmwhs\n", "../mmwhs", "acdc|mmwhs", "=1+1", "*"]
)
def test_nothing_is_published_for_another_name(name):
    assert literature_table(budget(name)) is None


def test_no_number_is_made_of_theirs_and_ours():
    table = literature_table(budget(entries=[entry("gcl", 0.7)]))
    assert {column.kind for column in table.columns} == {"text", "score"}
    assert table.leader == -1
    printed = {float(row["value"]) for row in lines("numbers.csv")}
    printed |= {float(row["spread"]) for row in lines("numbers.csv") if row["spread"]}
    numbers = table.data[["Their Dice", "Their SD", "Our Dice"]].to_numpy().ravel()
    assert {value for value in numbers if not math.isnan(value)} - printed == {0.7}


def test_the_notes_cite_each_source_that_is_shown_and_no_other():
    notes = literature_table(budget("acdc", 8, 0.1)).notes
    assert "no difference is taken" in notes[0]
    assert "no test, rank or verdict" in notes[0]
    rows = [row for row in lines("sources.csv") if row["id"] in ("macl_1_acdc", "macl_12_acdc")]
    rows += [row for row in lines("sources.csv") if row["id"] == "unimatch_acdc"]
    assert len(notes) == 1 + len(rows)
    for note, row in zip(notes[1:], rows, strict=True):
        for name in ("name", "citation", "modality", "split", "labelled", "backbone",
                     "checkpoint", "metrics", "comparable", "reason"):  # fmt: skip
            assert row[name] in note


def test_numbers_of_single_structures_are_no_means(monkeypatch):
    known = literature()
    first = known.numbers[0]
    of_one = first.model_copy(update={"structure": "LV", "value": 0.99})
    planted = Literature(sources=known.sources, numbers=(of_one, *known.numbers))
    before = literature_table(budget("acdc", 8)).data
    monkeypatch.setattr(module, "literature", lambda: planted)
    assert literature_table(budget("acdc", 8)).data.equals(before)


def test_every_format_shows_it(frame):
    table = literature_table(budget(entries=[entry("gcl", 0.7)]))
    section = Section("mmwhs, 10% of the labels", "0123", (table,))
    report = Report((section,), frame({}), "bench report")
    for name in ("terminal", "markdown", "latex", "csv", "json"):
        text = reports.get(name)().render(report)
        assert "Contrastive" in text
        assert "0.70" in text or "0.7," in text
        assert all(number in text for number in ("0.79", "0.71"))
        assert "slices pooled" in text
