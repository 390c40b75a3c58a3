"""The mean over datasets: of which sections, with which numbers, and in which words."""

import json

import numpy as np
import pytest
from statsmodels.stats.meta_analysis import combine_effects
from tests.makers.rows import results
from tests.report.sides import PROTOCOL, changed, recorded

from contrabench.contracts.registry import reports
from contrabench.report.build import build_report
from contrabench.report.comparison import compare
from contrabench.report.entries import label_budgets

HASHES = {"acdc": "a" * 16, "ct": "c" * 16, "mr": "d" * 16}
METHODS = {"scratch": 0.0, "gcl": 0.05, "hu": 0.002}


def study(dataset, number, shifts=METHODS, **changes):
    """Three folds and two label draws of 12 patients."""
    noise = np.random.default_rng(number).normal(0, 0.01, (len(shifts), 12, 2))
    return [
        {"run": f"{dataset}-{method}-{p % 3}-{draw}-{changes.get('protocol', '')}",
         "dataset": dataset, "protocol": HASHES[dataset], "method": method,
         "patient": f"{dataset}{p:02d}", "fold": p % 3, "folds": 3, "draw": draw,
         "dice": 0.5 + 0.01 * p + shift + noise[place, p, draw], **changes}
        for place, (method, shift) in enumerate(shifts.items()) for p in range(12)
        for draw in range(2)
    ]  # fmt: skip


def made(frame, *rows, **records):
    return build_report(results(frame(*rows), **records), "bench report").sections


def over(sections):
    return [part for part in sections if part.title.startswith("over ")]


STUDIES = [study(dataset, number) for number, dataset in enumerate(HASHES)]
EVERY = [row for rows in STUDIES for row in rows]


def test_effects_are_those_of_the_datasets_and_their_mean_that_of_statsmodels(frame):
    (section, *others) = made(frame, *EVERY)
    assert section.title == "over 3 datasets, smoke budget, 10% of the labels"
    assert section.protocol == " and ".join(HASHES.values())
    assert over(others) == []
    (table,) = section.tables
    found = table.data.set_index("Method")
    assert found.index.tolist() == ["gcl", "hu"]
    for label in found.index:
        known = []
        for rows in STUDIES:
            (budget,) = label_budgets(frame(*rows))
            known.append(compare(budget.entries).family[label])
        means, errors = ([getattr(one, name) for one in known] for name in ("mean", "error"))
        for name, one in zip(HASHES, known, strict=True):
            assert one.is_anew
            cells = found.loc[label, [f"on {name}", f"error on {name}"]].tolist()
            assert cells == pytest.approx([one.mean, one.error])
        theirs = combine_effects(
            np.array(means), np.array(errors) ** 2, method_re="iterated", use_t=True, atol=1e-12
        )
        ours = found.loc[label, ["Dice vs scratch", "95% low", "95% high"]].tolist()
        expected = [theirs.mean_effect_re, *theirs.conf_int(use_t=True)[1]]
        assert ours == pytest.approx(expected, rel=1e-3)
        assert found.loc[label, "Datasets"] == 3


def test_what_three_datasets_show_is_said(frame):
    text = "\n".join(made(frame, *EVERY)[0].verdict)
    assert "Over datasets in Dice better than scratch: gcl +0.05" in text
    assert "hu" in text
    assert "Random-effects mean over acdc, ct, mr;" in text


def test_two_datasets_have_a_table_and_no_verdict(frame):
    section = made(frame, *STUDIES[0], *STUDIES[1])[0]
    (line,) = section.verdict
    assert line.startswith("acdc and ct tell too little of the mean over datasets")
    assert len(section.tables[0].data) == 2


def test_a_method_of_two_of_three_datasets_has_no_verdict(frame):
    rows = [row for row in EVERY if (row["dataset"], row["method"]) != ("mr", "gcl")]
    (section, *_) = made(frame, *rows)
    assert section.tables[0].data.set_index("Method").loc["gcl", "Datasets"] == 2
    text = "\n".join(section.verdict)
    assert "gcl" not in text
    assert "hu" in text


def test_a_method_of_one_dataset_alone_is_not_there(frame):
    more = study("ct", 1, {**METHODS, "pcl": 0.1})
    section = made(frame, *STUDIES[0], *more)[0]
    assert section.tables[0].data["Method"].tolist() == ["gcl", "hu"]


@pytest.mark.parametrize(
    "other", [{"labels": "20%"}, {"budget": "quick"}, {"recipe": "published"}], ids=str
)
def test_what_was_not_run_alike_is_not_combined(frame, other):
    assert over(made(frame, *STUDIES[0], *study("ct", 1, **other))) == []


def test_settings_of_the_dataset_may_differ_and_no_others(frame):
    def records(path, value):
        first = recorded(frame(*STUDIES[0]))
        own = changed(changed(PROTOCOL, "dataset", "ct"), "data", "d2")
        second = recorded(frame(*STUDIES[1]), protocol=changed(own, path, value))
        runs = {**first.runs.T, **second.runs.T}
        return {"runs": type(first.runs)(runs).T}

    rows = [*STUDIES[0], *STUDIES[1]]
    assert len(over(made(frame, *rows, **records("structures", ["LV"])))) == 1
    assert over(made(frame, *rows, **records("budget.finetune.lr", 0.1))) == []


def test_a_dataset_under_two_protocols_is_left_out(frame):
    again = study("ct", 5, protocol="e" * 16)
    assert over(made(frame, *STUDIES[0], *STUDIES[1], *again)) == []
    section = made(frame, *EVERY, *again)[0]
    assert section.notes == ("ct is there under several protocols, and left out.",)
    assert "on ct" not in section.tables[0].data


def test_methods_that_never_differ_have_no_mean(frame):
    rows = [
        *(row for row in STUDIES[0] if row["method"] == "scratch"),
        *(row for row in STUDIES[1] if row["method"] == "scratch"),
    ]
    twins = [{**row, "method": "heads_only", "run": f"{row['run']}-h"} for row in rows]
    assert over(made(frame, *rows, *twins)) == []


@pytest.mark.parametrize("name", ["terminal", "markdown", "latex", "csv", "json", "html"])
def test_every_format_has_it(frame, name):
    report = build_report(results(frame(*EVERY)), "bench report")
    text = reports.get(name)().render(report)
    assert "over 3 datasets" in text
    if name == "latex":
        assert r"scratch within $\pm$ 0.01: hu" in text
    if name == "json":
        (table,) = json.loads(text)["sections"][0]["tables"]
        assert table["name"] == "over datasets"
        assert table["rows"][0]["Method"] == "gcl"
