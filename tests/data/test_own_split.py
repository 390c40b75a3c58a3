"""A split of the user's own: what forms it may have, and whom it trains on and tests."""

import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contrabench.contracts.split import GivenFold, GivenSplit
from contrabench.data.own_split import lay_split, read_split
from contrabench.errors import RequestError


def case(name, patient=None, labelled=True):
    return SimpleNamespace(case=name, patient=patient or name, labelled=labelled)


def frames(*patients, labelled=True):
    return [case(f"{p}_{frame}", p, labelled) for p in patients for frame in ("ED", "ES")]


def split(train, test, val="", labelled=""):
    fold = GivenFold(train=train.split(), val=val.split(), test=test.split())
    return GivenSplit(folds=(fold,), labelled=labelled.split())


HEARTS = [*frames("a", "b", "c", "d"), *frames("u", labelled=False)]


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "splits.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def test_nnunets_list_tests_each_val(file):
    found = read_split(file([{"train": ["b", "a"], "val": ["c"]}, {"train": ["c"], "val": ["a"]}]))
    assert [(f.train, f.val, f.test) for f in found.folds] == [
        (("a", "b"), (), ("c",)),
        (("c",), (), ("a",)),
    ]


def test_a_plain_split_has_one_fold_and_may_say_who_is_labelled_first(file):
    content = {"train": ["b", "a"], "val": ["v"], "test": ["t"], "labelled": ["b", "a"]}
    assert read_split(file(content)) == split("a b", "t", "v", "b a")
    del content["val"], content["labelled"]
    assert read_split(file(content)) == split("a b", "t")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is no JSON"),
        ([], "it is no object"),
        ("3", "it is no object"),
        ([3], "fold 0: is no object"),
        ([{"train": ["a"], "val": []}], "fold 0: 'val' is missing or empty"),
        ([{"train": ["a"], "val": ["b"]}, {"train": ["a"]}], "fold 1: 'val' is missing"),
        ([{"train": ["a"], "val": ["b"], "test": ["c"]}], "fold 0: 'test' is unknown"),
        ({"train": ["a"], "val": ["b"]}, "'test' is missing"),
        ({"train": ["a"], "test": ["b"], "lables": ["a"]}, "'lables' is unknown"),
        ({"train": "a", "test": ["b"]}, "'train' is no list of names"),
        ({"train": ["a"], "test": [1]}, "'test' is no list of names"),
    ],
)
def test_what_is_no_split_is_told_in_one_line_with_the_forms(file, content, words):
    with pytest.raises(RequestError, match="splits_final.json") as caught:
        read_split(file(content))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(RequestError, match="cannot be read"):
        read_split(tmp_path)


@pytest.mark.parametrize("names", ["{}", "{}_ED"])
def test_cases_stand_for_their_patients_and_patients_without_labels_join_training(names):
    def of(text):
        return " ".join(names.format(name) for name in text.split())

    laid = lay_split(split(of("a b"), of("d"), of("c")), HEARTS)
    (fold,) = laid.folds
    assert (fold.train, fold.labelled, fold.test) == (("a", "b", "u"), ("a", "b"), ("d",))
    first, held = laid.notes
    assert first == "own split; 1 fold, 3 patients to train on and 1 patient to test on"
    assert (
        held == "1 patient in val neither trained on nor tested, since no checkpoint is chosen: c"
    )


def test_whom_the_split_or_the_data_lacks_is_told():
    laid = lay_split(split("a x", "d u", labelled="x a"), HEARTS)
    (fold,) = laid.folds
    assert (fold.train, fold.test, laid.labelled) == (("a",), ("d",), ("a",))
    assert laid.notes[1:] == (
        "1 name of the split not in this data, and so left out: x",
        "2 labelled patients not named by the split, and so left out: b, c",
        "1 patient of test without labels, and so neither trained on nor tested: u",
    )


@pytest.mark.parametrize(
    ("given_split", "words"),
    [
        (split("a_ED b", "a_ES"), "fold 0 of the split has patient a on two sides: a_ED in train, "
         "a_ES in test"),
        (split("a", "d", "a"), "a in train, a in val"),
        (split("a", "d", "d"), "d in val, d in test"),
        (split("a", "x"), "no patient to test in this data; the split names a, the data has a, b"),
        (split("a", "u"), "no patient to test"),
        (split("u", "d"), "no patient with labels to train on"),
        (split("a", "d", labelled="d"), "'labelled' of the split names d"),
        (GivenSplit(folds=(GivenFold(train=("a",), test=("d",)), GivenFold(train=("b",),
         test=("c", "d_ES")))), "tests patient d in fold 0 and in fold 1"),
    ],
)  # fmt: skip
def test_what_would_be_wrong_in_silence_is_refused_in_one_line(given_split, words):
    with pytest.raises(RequestError) as caught:
        lay_split(given_split, HEARTS)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_hash_is_that_of_who_is_really_trained_on_tested_and_labelled_first():
    one = lay_split(split("a b", "d", labelled="b a"), HEARTS).hash
    same = [split("b_ED a", "d_ES", labelled="b a"), split("a b x", "d", labelled="b x a")]
    assert {lay_split(other, HEARTS).hash for other in same} == {one}
    others = [
        split("a b", "d"),
        split("a b", "d", labelled="a b"),
        split("a b", "c"),
        split("a", "d"),
        split("a b", "d", "u"),
    ]
    assert len({one, *(lay_split(other, HEARTS).hash for other in others)}) == 1 + len(others)


@given(st.data())
def test_folds_of_a_cross_validation_test_every_labelled_patient_once(data):
    count, folds = data.draw(st.integers(4, 12)), data.draw(st.integers(2, 4))
    patients = [f"p{number}" for number in range(count)]
    place = {p: data.draw(st.integers(0, folds - 1)) for p in patients[folds:]}
    place |= {p: number for number, p in enumerate(patients[:folds])}
    parts = [
        GivenFold(
            train=[f"{p}_ED" for p in patients if place[p] != fold],
            test=[f"{p}_{frame}" for p in patients if place[p] == fold for frame in ("ED", "ES")],
        )
        for fold in range(folds)
    ]
    cases = [*frames(*patients), *frames("u", "v", labelled=False)]
    laid = lay_split(GivenSplit(folds=parts), cases)
    assert sorted(name for fold in laid.folds for name in fold.test) == sorted(patients)
    for number, fold in enumerate(laid.folds):
        assert not set(fold.train) & set(fold.test)
        assert set(fold.train) == {p for p in patients if place[p] != number} | {"u", "v"}
        assert set(fold.labelled) == set(fold.train) - {"u", "v"}
