import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contrabench.data.splits import (
    TESTED,
    draw_labels,
    labels_text,
    make_split,
    parse_labels,
    save_manifest,
)
from contrabench.errors import RequestError
from contrabench.statistics.signflip import fewest_patients

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


@given(
    patients=st.integers(4, 40),
    draw=st.integers(0, 3),
    counts=st.sets(st.integers(1, 20), min_size=1, max_size=3),
    shares=st.sets(st.floats(0.01, 1.0), min_size=1, max_size=3),
    first=st.lists(st.sampled_from([f"p{i}" for i in range(40)]), unique=True, max_size=6),
)
def test_counts_and_fractions_are_parts_of_one_order(patients, draw, counts, shares, first):
    split = make_split([f"p{i}" for i in range(patients)], [], 2, 0, 0)
    asked = [str(n) for n in counts if n <= len(split.labelled)] + [repr(s) for s in shares]
    drawn = [draw_labels(split, text, draw, 0, first).patients for text in asked]
    for text, chosen in zip(asked, drawn, strict=True):
        assert len(chosen) == int(text) if text.isdigit() else len(chosen) >= 1
        assert all(set(chosen) <= set(more) for more in drawn if len(more) >= len(chosen))


def test_three_patients_are_three_in_folds_of_any_size():
    splits = [make_split(NAMES[:11], [], 2, fold, 0) for fold in range(2)]
    drawn = [draw_labels(split, "3", 0, 0) for split in splits]
    assert [one.of for one in drawn] == [5, 6]
    assert [len(one.patients) for one in drawn] == [3, 3]
    assert {one.labels for one in drawn} == {"3 patients"}
    assert [one.fraction for one in drawn] == [3 / 5, 3 / 6]
    assert drawn[0].sentence() == "3 of 5 training patients labelled"


def test_more_patients_than_there_are_is_one_line():
    with pytest.raises(RequestError) as caught:
        draw_labels(make_split(NAMES, ["u1"], 5, 3, 0), "17", 0, 0)
    assert str(caught.value) == (
        "labels of 17 patients are asked for, and fold 3 trains on 16 that have any; ask for 16 at "
        "most, or for 100%"
    )


def test_a_given_order_is_that_of_draw_0_alone():
    split = make_split(NAMES, [], 5, 0, 0)
    a, b, c = split.labelled[5], split.labelled[2], split.labelled[9]
    order = [a, split.test[0], b, c]
    assert draw_labels(split, "2", 0, 0, order).patients == tuple(sorted([a, b]))
    assert draw_labels(split, "3", 0, 0, order).patients == tuple(sorted([a, b, c]))
    assert draw_labels(split, "2", 1, 0, order) == draw_labels(split, "2", 1, 0)


def test_unlabelled_patients_are_never_in_a_manifest():
    split = make_split(NAMES, ["u1", "u2"], 5, 0, 0)
    assert not {"u1", "u2"} & set(draw_labels(split, "100%", 0, 0).patients)


def test_draws_differ():
    split = make_split(NAMES, [], 5, 0, 0)
    drawn = {draw_labels(split, "10%", draw, 0).patients for draw in range(8)}
    assert len(drawn) > 4


@pytest.mark.parametrize(
    ("text", "value"), [("10%", 0.1), ("12.5%", 0.125), ("0.4", 0.4), ("1.0", 1.0)]
)
def test_fractions_are_read(text, value):
    assert parse_labels(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["1", "3", " 3 ", "3 patients", "1 patient", "120"])
def test_a_whole_number_counts_patients(text):
    count = parse_labels(text)
    assert count == int(text.split()[0])
    assert isinstance(count, int)
    assert parse_labels(labels_text(count)) == count
    assert isinstance(parse_labels("1.0"), float)


@pytest.mark.parametrize(
    "text",
    ["0", "-3", "3.5", "3 hearts", "٣", "9" * 30, "0%", "101%", "ten", "-5%", "nan", "", "%"],
)
def test_wrong_fractions_are_refused_in_one_line(text):
    with pytest.raises(RequestError, match="such as 10%") as caught:
        parse_labels(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labelled", "folds", "words"),
    [
        (20, 21, "20 of 20 patients have labels, and a comparison over 21 folds needs 21 at least "
         "to test on, each tested once (6 to show any difference); add 1 more or choose --folds "
         "20"),
        (2, 5, "2 of 20 patients have labels, and a comparison over 5 folds needs 5 at least to "
         "test on, each tested once (6 to show any difference); label 3 more or fit one network: "
         "bench fit"),
        (1, 2, "1 of 20 patients has labels, and a comparison over 2 folds needs 2 at least to "
         "test on, each tested once (6 to show any difference); label 1 more or fit one network: "
         "bench fit"),
    ],
)  # fmt: skip
def test_too_few_labelled_patients_say_how_many_it_takes_and_what_to_do(labelled, folds, words):
    with pytest.raises(RequestError) as caught:
        make_split(NAMES[:labelled], NAMES[labelled:], folds, 0, 0)
    assert str(caught.value) == words


def test_as_many_tested_patients_as_an_interval_takes_show_a_difference():
    assert fewest_patients() == TESTED


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
