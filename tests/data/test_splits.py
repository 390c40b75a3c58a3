import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contrabench.data.splits import draw_labels, make_split, parse_labels, save_manifest
from contrabench.errors import RequestError

NAMES = [f"p{i:03d}" for i in range(20)]


def test_every_patient_is_tested_once_and_never_trained_on_then():
    splits = [make_split(NAMES, ["u1"], 5, fold, 0) for fold in range(5)]
    assert sorted(name for split in splits for name in split.test) == NAMES
    for split in splits:
        assert not set(split.train) & set(split.test)
        assert set(split.train) | set(split.test) == {*NAMES, "u1"}
        assert "u1" in split.train
        assert "u1" not in split.labelled


def test_the_order_of_files_does_not_matter():
    assert make_split(NAMES, [], 5, 2, 0) == make_split(NAMES[::-1], [], 5, 2, 0)


def test_another_seed_gives_other_folds():
    assert make_split(NAMES, [], 5, 0, 0).test != make_split(NAMES, [], 5, 0, 1).test


def test_ten_percent_of_sixteen_patients_are_two():
    manifest = draw_labels(make_split(NAMES, [], 5, 0, 0), "10%", 0, 0)
    assert len(manifest.patients) == 2
    assert manifest.sentence() == "10% of 16 training patients = 2 labelled"


@given(
    patients=st.integers(2, 40),
    draw=st.integers(0, 3),
    fractions=st.lists(st.floats(0.01, 1.0), min_size=2, max_size=5),
)
def test_fractions_nest_and_count_as_stated(patients, draw, fractions):
    names = [f"p{i}" for i in range(patients)]
    split = make_split(names, [], 2, 0, 0)
    size = len(split.labelled)
    before: set[str] = set()
    for fraction in sorted(fractions):
        chosen = set(draw_labels(split, repr(fraction), draw, 0).patients)
        assert before <= chosen <= set(split.labelled)
        assert abs(len(chosen) - max(1, fraction * size)) <= 0.5 + 1e-9
        before = chosen


def test_unlabelled_patients_are_never_in_a_manifest():
    split = make_split(NAMES, ["u1", "u2"], 5, 0, 0)
    assert not {"u1", "u2"} & set(draw_labels(split, "100%", 0, 0).patients)


def test_draws_differ():
    split = make_split(NAMES, [], 5, 0, 0)
    drawn = {draw_labels(split, "10%", draw, 0).patients for draw in range(8)}
    assert len(drawn) > 4


@pytest.mark.parametrize(
    ("text", "value"), [("10%", 0.1), ("12.5%", 0.125), ("0.4", 0.4), ("1", 1)]
)
def test_fractions_are_read(text, value):
    assert parse_labels(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["0%", "101%", "ten", "-5%", "nan", "", "%"])
def test_wrong_fractions_are_refused_in_one_line(text):
    with pytest.raises(RequestError, match="such as 10%") as caught:
        parse_labels(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("folds", "fold"), [(21, 0), (1, 0), (5, 5), (5, -1)])
def test_impossible_folds_are_refused(folds, fold):
    with pytest.raises(RequestError):
        make_split(NAMES, [], folds, fold, 0)


def test_a_manifest_is_stored_under_its_hash(tmp_path):
    split = make_split(NAMES, [], 5, 0, 0)
    key = save_manifest(tmp_path, "split", split)
    content = json.loads((tmp_path / f"split-{key}.json").read_text())
    assert content["test"] == list(split.test)
    assert save_manifest(tmp_path, "split", make_split(NAMES, [], 5, 1, 0)) != key
