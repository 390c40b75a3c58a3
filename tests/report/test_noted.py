"""What stands beside the fidelity of a plug-in, and what was noted of its runs."""

import json

import pandas as pd
import pytest
from tests.makers.rows import results
from tests.report.test_build import references, study

from contrabench.contracts import conformity, registry
from contrabench.report.build import build_report
from contrabench.report.noted import OUTSIDE


def told(make, info):
    rows = make(*references(), *study("x", family="contrast", fidelity="official"))
    keys = rows["run"][rows["variant"] == "x"].unique()
    runs = results(rows).runs.reindex(pd.Index(keys, name="run"))
    runs["method_info"] = json.dumps(info)
    (section,) = build_report(results(rows, runs), "bench report", ["10%"]).sections[:1]
    (table,) = [one for one in section.tables if one.name == "runs"]
    data = table.data.set_index("Method")
    return data.loc["x"], data.loc["scratch"], section.notes


@pytest.mark.parametrize(
    ("checked", "fidelity", "line"),
    [
        ({}, "official", None),
        ({"outcome": "passed"}, "official, passed the kit", None),
        ({"outcome": "failed"}, "official, failed the kit", "has failed the conformance kit"),
        ({"outcome": "not checked"}, "official, not checked", "has not checked"),
    ],
)
def test_the_outcome_stands_beside_the_fidelity(frame, checked, fidelity, line):
    x, scratch, notes = told(frame, {"code": "0" * 16, "options": {}, "checked": checked})
    assert x["Fidelity"] == fidelity
    assert scratch["Fidelity"] == "re-implementation"
    assert [one for one in notes if "kit" in one] == ([] if line is None else [notes[-1]])
    assert line is None or line in notes[-1]


def test_what_was_checked_after_the_run_is_found(frame, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = conformity._file("ab" * 8)
    file.parent.mkdir(parents=True)
    options = {"tau": 0.5}
    file.write_text(json.dumps({conformity._of(options): {"outcome": "passed"}}))
    info = {"code": "ab" * 8, "options": options, "checked": {"outcome": "not checked"}}
    assert told(frame, info)[0]["Fidelity"] == "official, passed the kit"
    file.write_text("[")
    assert told(frame, info)[0]["Fidelity"] == "official, not checked"


def test_weights_from_outside_stand_beside_the_row_of_the_leaderboard(frame):
    rows = frame(*references(), *study("x", family="outside weights", fidelity="official"))
    keys = rows["run"][rows["variant"] == "x"].unique()
    runs = results(rows).runs.reindex(pd.Index(keys, name="run"))
    told = [{"source": "us", "licence": "MIT", "seen": seen} for seen in ("no", "yes", "unknown")]
    # Of its runs the worst that one of them tells.
    infos = [json.dumps({"outside": told[n % 3]}) for n in range(len(keys))]
    for some, seen in ((infos, "yes"), (infos[:1] * len(keys), "no")):
        runs["method_info"] = some
        report = build_report(results(rows, runs), "bench report", ["10%"])
        data = report.sections[0].tables[0].data.set_index("Method")[list(OUTSIDE)]
        assert tuple(data.loc["x"]) == (seen, "us", "MIT")
        assert data.loc["scratch"].isna().all()
        for form in ("terminal", "markdown", "html"):
            text = registry.reports.get(form)().render(report)
            assert all(heading.split()[0] in text for heading in OUTSIDE)
            assert "MIT" in text
    report = build_report(results(rows), "bench report", ["10%"])
    assert not {*OUTSIDE} & {*report.sections[0].tables[0].data}


def test_marks_are_a_column_and_a_line(frame):
    x, scratch, notes = told(frame, {"marks": ["read while running: MY_TAU=0.5"]})
    assert (x["Marks"], scratch["Marks"]) == ("read while running: MY_TAU=0.5", "none")
    assert "x: read while running: MY_TAU=0.5." in notes
