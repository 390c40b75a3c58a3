"""The table of metrics of one's own, against means and differences that are taken by hand."""

import json

import numpy as np
import pytest

from contrabench.report.entries import label_budgets
from contrabench.report.own_metrics import own_table
from contrabench.statistics.paired import paired_difference
from contrabench.store.rows import own_metrics

SCORES = {
    "scratch": np.random.default_rng(1).normal(3, 1, 8),
    "simclr": np.random.default_rng(2).normal(2, 1, 8),
}


def rows(frame, scores):
    return frame(
        *(
            {
                "method": method,
                "patient": f"p{place}",
                "own_metrics": "" if value is None else json.dumps({"volume": value}),
            }
            for method, values in scores.items()
            for place, value in enumerate(values)
        )
    )


def table(frame, scores):
    return own_table(label_budgets(rows(frame, scores))[0].entries)


def test_means_over_patients_and_differences_to_scratch(frame):
    found = table(frame, SCORES).data.set_index("Method")
    for name, values in SCORES.items():
        assert found.loc[name, "volume"] == pytest.approx(values.mean())
    wanted = paired_difference(SCORES["simclr"], SCORES["scratch"])
    line = found.loc["simclr"]
    assert line["volume vs scratch"] == pytest.approx(wanted.mean)
    assert line["volume vs scratch 95% low"] == pytest.approx(wanted.low)
    assert line["volume vs scratch 95% high"] == pytest.approx(wanted.high)
    assert np.isnan(found.loc["scratch", "volume vs scratch"])


def test_there_is_no_table_where_nobody_asked(frame):
    assert table(frame, {name: [None] * 8 for name in SCORES}) is None


def test_a_mean_over_some_patients_alone_is_not_told(frame):
    found = table(frame, {**SCORES, "simclr": [None, *SCORES["simclr"][1:]]})
    data = found.data.set_index("Method")
    assert np.isnan(data.loc["simclr", "volume"])
    assert data.loc["scratch", "volume"] == pytest.approx(SCORES["scratch"].mean())
    assert any("simclr" in note and "trains nothing anew" in note for note in found.notes)


def test_rows_are_taken_apart_by_metric(frame):
    found = own_metrics(rows(frame, SCORES))
    assert list(found.columns) == ["volume"]
    assert found["volume"].tolist() == pytest.approx(np.concatenate(list(SCORES.values())))
