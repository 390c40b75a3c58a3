"""The shipped numbers agree with themselves and with what is registered."""

import csv
import subprocess
import sys
from importlib.resources import as_file, files
from pathlib import Path

import pytest

from contrabench.contracts.registry import datasets, methods
from contrabench.report.published import NUMBERS, SOURCES, literature

FOLDER = files("contrabench.report.published")
ROOT = Path(__file__).parents[2]


def lines(name):
    with as_file(FOLDER / name) as path, path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_line_of_the_files_is_read_as_it_stands():
    known = literature()
    assert [source.id for source in known.sources] == [row["id"] for row in lines(SOURCES)]
    for one, row in zip(known.numbers, lines(NUMBERS), strict=True):
        texts = {name: "" if (v := getattr(one, name)) is None else str(v) for name in row}
        for name in ("fraction", "value", "spread"):
            assert not row[name] or float(texts.pop(name)) == float(row[name])
        assert all(text == row[name] for name, text in texts.items())


def test_numbers_are_possible_and_in_our_units():
    rows = lines(NUMBERS)
    assert len(rows) > 100
    for row in rows:
        value = float(row["value"])
        # Below the first bound a percentage was taken for a share, or an empty cell for 0.
        assert 0.2 < value < 1 if row["metric"] == "dice" else 0.1 < value < 20
        assert bool(row["unit"]) == (row["metric"] != "dice")
        assert not row["spread"] or 0 < float(row["spread"]) < 0.05


def test_each_number_is_there_once_and_none_lacks_its_dice():
    names = ("source", "method", "labels", "structure")
    keys = [tuple(row[name] for name in (*names, "metric")) for row in lines(NUMBERS)]
    assert len(set(keys)) == len(keys)
    assert {key[:4] for key in keys} == {key[:4] for key in keys if key[4] == "dice"}


def test_sources_and_numbers_belong_together_and_to_what_is_registered():
    sources, rows = lines(SOURCES), lines(NUMBERS)
    assert {row["source"] for row in rows} == {row["id"] for row in sources}
    ours = {row["ours"] for row in rows if row["ours"]}
    assert ours <= set(methods.names())
    for row in sources:
        assert row["dataset"] in datasets.names()
        if row["options"]:
            name, value = row["options"].split("=")
            options = datasets.get(row["dataset"]).Options
            assert str(getattr(options(**{name: value}), name)) == value
    assert len({(row["name"], row["dataset"]) for row in sources}) == len(sources)


def test_a_method_has_one_name_here_and_two_are_never_one_in_a_source():
    rows = lines(NUMBERS)
    for source in {row["source"] for row in rows}:
        at = {(r["labels"], r["ours"]): set() for r in rows if r["source"] == source and r["ours"]}
        for row in rows:
            if row["source"] == source and row["ours"]:
                at[row["labels"], row["ours"]].add(row["method"])
        assert all(len(printed) == 1 for printed in at.values())
    named = {row["method"]: row["ours"] for row in rows if row["ours"]}
    assert {named["GCL"], named["Scratch"], named["SL"]} == {"gcl", "scratch"}
    same = {"gcl", "pcl", "simclr", "moco", "byol", "swav", "simsiam", "macl"}
    assert {ours for printed, ours in named.items() if printed.lower() == ours} == same | {
        "scratch"
    }


def test_methods_that_share_a_name_alone_are_not_taken_for_ours():
    other = ("Self-paced", "Contrastive (Chaitanya et al.)", "Mean Teacher", "DiRA", "PLGCL")
    found = {row["method"]: row["ours"] for row in lines(NUMBERS) if row["method"] in other}
    assert found == dict.fromkeys(other, "")


def test_a_share_agrees_with_the_number_of_patients():
    """The fraction times the training data, found from any line of a source, is the number."""
    totals = {}
    for row in lines(NUMBERS):
        if row["labelled_patients"]:
            total = float(row["labelled_patients"]) / float(row["fraction"])
            totals.setdefault(row["source"], []).append(total)
    wanted = {
        "macl_1_acdc": 80, "macl_1_mmwhs": 16, "self_paced_acdc": 174, "self_paced_mmwhs": 10,
        "unimatch_acdc": 70,
    }  # fmt: skip
    assert set(totals) == set(wanted)
    for source, found in totals.items():
        assert found == pytest.approx([wanted[source]] * len(found), rel=1e-3)


def test_nothing_that_pools_slices_or_peeks_at_the_test_set_is_called_comparable():
    for row in lines(SOURCES):
        text = f"{row['checkpoint']} {row['metrics']} {row['split']}"
        if "all test slices" in text or "test patients" in text or "not stated" in text:
            assert row["comparable"] == "no", row["id"]
        assert row["comparable"] != "yes"


def test_reading_needs_nothing_heavy():
    code = (
        "import sys, contrabench.report.published as p; p.literature();"
        "print(sorted({'torch', 'pandas', 'numpy', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
