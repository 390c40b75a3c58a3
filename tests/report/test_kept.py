"""A report that was kept is the one that would be built; whatever it follows from is looked at."""

import gzip
import json
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pandas as pd
import pytest
from tests.makers.rows import results

from contrabench import kept as keeping
from contrabench.contracts import conformity
from contrabench.contracts.registry import datasets, reports
from contrabench.exchange.reading import results_at
from contrabench.report import build, kept
from contrabench.report.build import build_report
from contrabench.report.kept import kept_report

EXAMPLE = Path(__file__).parents[2] / "docs"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "contrabench"


@pytest.fixture
def built(monkeypatch):
    """How often a report was built."""
    count = []

    def counting(*given, **named):
        count.append(given)
        return build_report(*given, **named)

    monkeypatch.setattr(build, "build_report", counting)
    return count


@pytest.fixture
def few(frame):
    """Two methods on six patients."""
    rows = [
        {"method": method, "patient": f"p{p}", "dice": 0.5 + 0.01 * p + shift, "fold": p % 2}
        for method, shift in (("scratch", 0.0), ("simclr", 0.05))
        for p in range(6)
    ]
    return results(frame(*rows))


def same(one, other, where=""):
    """Compares to the last bit, types included."""
    if isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other, check_exact=True, obj=where)
        for name in one:
            cells = [[(type(cell), repr(cell)) for cell in each[name]] for each in (one, other)]
            assert cells[0] == cells[1], (where, name)
    elif is_dataclass(one):
        assert type(one) is type(other)
        for field in fields(one):
            same(*(getattr(each, field.name) for each in (one, other)), f"{where}.{field.name}")
    elif isinstance(one, tuple):
        assert isinstance(other, tuple)
        assert len(one) == len(other), where
        for pair in zip(one, other, strict=True):
            same(*pair, where)
    else:
        assert repr(float(one) if isinstance(one, float) else one) == repr(other), where


WRITTEN = ("json", "parquet", "html", "latex", "terminal", "markdown", "svg")


@pytest.mark.parametrize(
    ("archive", "written"), [("example/quick.zip", WRITTEN), ("acdc-few-labels.zip", ("json",))]
)
def test_it_is_the_same_to_the_last_bit_in_every_format(home, built, archive, written):
    found = results_at(EXAMPLE / archive)
    first, second = (kept_report(found, "bench report") for _ in range(2))
    assert len(built) == 1
    same(first, second)
    for name in written:
        made = [reports.get(name)().render(one) for one in (first, second)]
        assert made[0] == made[1], name


def test_the_command_is_that_of_the_second_time(few, home, built):
    assert [kept_report(few, word).command for word in ("one", "other")] == ["one", "other"]
    assert len(built) == 1
    assert kept_report(few, "one").rows is few.rows


def other_dice(found):
    rows = found.rows.copy()
    rows.loc[3, "dice"] += 1e-15
    return replace(found, rows=rows)


def other_word(found):
    return replace(found, rows=found.rows.replace({"variant": {"simclr": "simclr[a=1]"}}))


def other_fact(found):
    runs = found.runs.copy()
    runs.loc[found.rows["run"].iloc[0]] = None
    return replace(found, runs=runs)


def categories(found):
    """The same words by the same codes, under other names."""
    words = found.rows["variant"].astype("category")
    return replace(found, rows=found.rows.assign(variant=words.cat.rename_categories(["a", "b"])))


@pytest.mark.parametrize("change", [other_dice, other_word, other_fact, categories])
def test_another_row_or_fact_is_seen(few, home, built, change):
    if change is categories:
        few = replace(few, rows=few.rows.assign(variant=few.rows["variant"].astype("category")))
    same(kept_report(few, "x"), kept_report(few, "x"))
    assert len(built) == 1
    changed = change(few)
    same(kept_report(changed, "x"), build_report(changed, "x"))
    assert len(built) == 2


@pytest.mark.parametrize(
    "asked", [{"labels": ["10%"]}, {"rates": "gentle"}, {"place": lambda name: ["--store", name]}]
)
def test_another_option_is_seen(few, home, built, asked):
    kept_report(few, "x")
    same(kept_report(few, "x", **asked), build_report(few, "x", **asked))
    assert len(built) == 2


def test_what_the_kit_has_found_since_is_seen(few, home, built):
    code, options = "ab" * 8, {"temperature": 0.1}
    info = {"code": code, "options": options, "checked": {"outcome": conformity.UNKNOWN}}
    runs = few.runs.reindex(pd.Index(few.rows["run"].unique(), name="run"))
    few = replace(few, runs=runs.assign(method_info=json.dumps(info), protocol=""))
    kept_report(few, "x")
    file = conformity._file(code)
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({conformity._of(options): {"outcome": "failed"}}))
    found = kept_report(few, "x")
    same(found, build_report(few, "x"))
    assert "has failed the conformance kit" in "".join(found.sections[0].notes)
    assert len(built) == 2


def test_other_code_is_seen(few, home, built, monkeypatch):
    kept_report(few, "x")
    monkeypatch.setattr(keeping, "code_of", lambda *packages: "other")
    kept_report(few, "x")
    assert len(built) == 2


def test_other_code_of_its_dataset_is_seen(few, home, built, monkeypatch):
    kept_report(few, "x")
    other = type("Other", (datasets.get("phantom"),), {"__module__": "contrabench.datasets.acdc"})
    datasets.get("acdc")
    monkeypatch.setattr(datasets, "get", lambda name: other)
    kept_report(few, "x")
    assert len(built) == 2


@pytest.mark.parametrize("forged", [5, [], "Report", {"is": "Exit"}, {"is": "Section"}, {}])
def test_what_is_no_report_is_not_taken_for_one(few, home, built, forged):
    kept_report(few, "x")
    (file,) = home.glob("report-*")
    file.write_bytes(gzip.compress(json.dumps(forged).encode()))
    same(kept_report(few, "x"), build_report(few, "x"))
    assert len(built) == 2


def odd_index(made):
    section = made.sections[0]
    table = section.tables[0]
    table = replace(table, data=table.data.set_index(table.data.index + 1))
    return replace(made, sections=(replace(section, tables=(table,)),))


def odd_cells(made):
    section = made.sections[0]
    return replace(made, sections=(replace(section, notes={"a set"}),))


def odd_words(made):
    section = made.sections[0]
    table = section.tables[0]
    table = replace(table, data=table.data.astype({"Method": "category"}))
    return replace(made, sections=(replace(section, tables=(table,)),))


@pytest.mark.parametrize("odd", [odd_index, odd_cells, odd_words])
def test_what_would_not_come_back_whole_is_not_kept(few, home, built, odd, monkeypatch):
    monkeypatch.setattr(build, "build_report", lambda *given, **named: odd(build_report(*given)))
    assert [type(kept_report(few, "x")).__name__ for _ in range(2)] == ["Report"] * 2
    assert not list(home.glob("report-*"))


def test_every_class_of_the_contract_is_known():
    assert {"Report", "Section", "Answer", "Table", "Column", "PlotData"} <= set(kept._CLASSES)
