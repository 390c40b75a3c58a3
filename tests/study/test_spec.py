"""What a study is asked for with: one readable line for every wrong field."""

import itertools
import json
import tomllib
from pathlib import Path

import pytest
from tests.makers.studies import TINY

import contrabench
from contrabench.errors import RequestError
from contrabench.references import LEFT_OUT
from contrabench.study.runs import runs_of
from contrabench.study.spec import make_study, read_study
from contrabench.study.status import study_id

TABLE = TINY.model_dump()


def study(**changes):
    return make_study({"methods": ["simclr"], "dataset": "phantom", **changes}, "the test")


@pytest.mark.parametrize(
    ("asked", "read"),
    [
        (["0.1"], ("10%",)),
        (["10.0%", "0.1", " 10%"], ("10%",)),
        (["40%", "5%", "100%"], ("5%", "40%", "100%")),
        (["1.0"], ("100%",)),
        (["12.5%"], ("12.5%",)),
        (
            ["10%", "8", "1", "3 patients", "1 patient"],
            ("1 patient", "3 patients", "8 patients", "10%"),
        ),
        ([3, 0.1, 1, 1.0], ("1 patient", "3 patients", "10%", "100%")),
    ],
)
def test_fractions_are_written_as_tables_write_them_each_once_few_labels_first(asked, read):
    assert study(labels=asked).labels == read


def test_the_words_for_references_and_folds_are_brought_into_one_form():
    spec = study(without=["full-supervision", "scratch long", "scratch_long"], test_folds=[3, 1, 1])
    assert spec.without == ("full_supervision", "scratch_long")
    assert spec.tested == (1, 3)
    assert study(folds=3).tested == (0, 1, 2)


def test_what_is_written_otherwise_is_the_same_study():
    asked = {"labels": ["20%", "0.1"], "without": ["scratch-long"], "dataset_options": {"a": 1}}
    turned = {"dataset_options": {"a": 1}, "without": ["scratch_long"], "labels": ["10%", "20%"]}
    assert study_id(study(**asked)) == study_id(study(**turned))
    assert study_id(study(**asked)) != study_id(study(**{**asked, "draws": 2}))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"methods": "simclr"}, "'methods' wants a list in brackets"),
        ({"methods": []}, "'methods' is empty"),
        ({"methods": [3]}, "'methods.0'"),
        ({"exclude": "simclr"}, "'exclude' wants a list"),
        ({"without": ["half_supervision"]}, "scratch, scratch_long, full_supervision"),
        ({"labels": []}, "'labels' is empty"),
        ({"labels": "10%"}, "'labels' wants a list"),
        ({"labels": [True]}, "'labels.0' should be a valid string; it is True"),
        ({"labels": ["0"]}, "'0' is no share"),
        ({"split": 3}, "'split'"),
        ({"split": "mine.json"}, "there is no file mine.json and no split 'mine.json'"),
        ({"labels": ["ten"]}, "'ten' is no share"),
        ({"labels": ["0%"]}, "'0%' is no share"),
        ({"labels": ["nan%"]}, "'nan%' is no share"),
        ({"labels": ["101%"]}, "'101%' is no share"),
        ({"folds": 1}, "'folds' is a number from 2 to 1000, not 1"),
        ({"folds": "many"}, "'folds'"),
        ({"test_folds": []}, "'test_folds' is empty"),
        ({"test_folds": [5]}, "there is no fold 5; 5 folds are numbered 0 to 4"),
        ({"test_folds": [-1]}, "there is no fold -1"),
        ({"draws": 0}, "'draws'"),
        ({"draws": 1.5}, "'draws'"),
        ({"seeds": 0}, "'seeds'"),
        ({"accumulate": 0}, "'accumulate'"),
        ({"budget": 3}, "'budget'"),
        (
            {"budget": {**TABLE, "pixels": 33}},
            "'budget.pixels' is a number from 32 to 2048 in steps of 16",
        ),
        ({"budget": {**TABLE, "wdith": 3}}, "'budget.wdith' is unknown; did you mean 'width'?"),
        ({"budget": {k: v for k, v in TABLE.items() if k != "width"}}, "'budget.width' is missing"),
        (
            {"budget": {**TABLE, "pretrain": {**TABLE["pretrain"], "lr": 0}}},
            "'budget.pretrain.lr' is a number above 0, not 0",
        ),
        (
            {"budget": {**TABLE, "pretrain": {**TABLE["pretrain"], "rate": 1}}},
            "'budget.pretrain.rate' is unknown",
        ),
        ({"recipe": "secret"}, "'recipe' should be 'common' or 'published'; it is 'secret'"),
        ({"views": "coronal"}, "'views' should be 'axial' or 'all'"),
        ({"deep_supervision": "perhaps"}, "'deep_supervision'"),
        ({"dataset": None}, "'dataset'"),
        ({"dataset_options": ["patients=4"]}, "'dataset_options'"),
        ({"methodz": ["simclr"]}, "'methodz' is unknown; did you mean 'methods'?"),
    ],
)
def test_every_wrong_field_is_one_line_that_names_it(wrong, words):
    with pytest.raises(RequestError) as caught:
        study(**wrong)
    text = str(caught.value)
    assert text.startswith("the test: ")
    assert words in text
    assert "\n" not in text
    for leak in ("validation error", "pydantic", "tuple", "Input"):
        assert leak not in text


@pytest.mark.parametrize("field", ["methods", "dataset"])
def test_what_has_no_default_must_be_there(field):
    content = {"methods": ["simclr"], "dataset": "phantom"}
    del content[field]
    with pytest.raises(RequestError, match=f"'{field}' is missing"):
        make_study(content, "the test")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"methods = [", "is no valid TOML"),
        (b"\xff\xfe", "is no text in UTF-8"),
        (b"folds = 1\nfolds = 2", "is no valid TOML"),
        (b'methods = ["simclr"]\ndataset = "phantom"\nfolds = 1', "'folds'"),
    ],
)
def test_a_file_that_is_not_understood_is_named(tmp_path, content, words):
    file = tmp_path / "mine.toml"
    file.write_bytes(content)
    with pytest.raises(RequestError, match="mine.toml") as caught:
        read_study(file)
    assert words in str(caught.value)


def test_a_missing_file_says_how_to_write_one_and_a_folder_is_no_file(tmp_path):
    with pytest.raises(RequestError, match="bench study init"):
        read_study(tmp_path / "none.toml")
    with pytest.raises(RequestError, match="cannot be read"):
        read_study(tmp_path)


def test_a_budget_can_be_a_table_of_the_file(tmp_path):
    file = tmp_path / "own.toml"
    file.write_text(
        'methods = ["simclr"]\ndataset = "phantom"\n[budget]\nname = "tiny"\npixels = 32\n'
        "width = 4\n[budget.pretrain]\nimages = 384\nbatch = 16\nlr = 1e-3\n"
        "[budget.finetune]\nimages = 384\nbatch = 16\nlr = 3e-3\n"
    )
    assert read_study(file).budget == TINY


SPLIT = {"train": ["a", "b"], "val": ["c"], "test": ["d"]}


def test_the_file_of_a_split_lies_beside_the_study_and_its_content_is_what_counts(tmp_path):
    (tmp_path / "here").mkdir()
    file, other = tmp_path / "here" / "study.toml", tmp_path / "other.json"
    file.write_text('methods = ["simclr"]\ndataset = "phantom"\nsplit = "own.json"\n')
    for path in (file.with_name("own.json"), other):
        path.write_text(json.dumps(SPLIT))
    spec = read_study(file)
    assert spec.split.folds[0].val == ("c",)
    assert (spec.all_folds, spec.tested) == (1, (0,))
    assert study_id(spec) == study_id(study(split=str(other)))
    other.write_text(json.dumps({**SPLIT, "test": ["e"]}))
    assert study_id(spec) != study_id(study(split=str(other)))
    (run, *_), _ = runs_of(spec, "cpu", "float32")
    assert (run.folds, run.split) == (1, spec.split)
    with pytest.raises(RequestError, match="there is no fold 1; there is fold 0"):
        study(split=str(other), test_folds=[1])


def test_a_split_that_a_dataset_brings_is_taken_by_its_name():
    assert study(dataset="acdc", split="ssl4mis").split.source.startswith("SSL4MIS")
    with pytest.raises(RequestError, match="did you mean 'ssl4mis'.*brings ssl4mis"):
        study(dataset="acdc", split="ssl4mi")
    with pytest.raises(RequestError, match="the dataset 'phantom' brings none"):
        study(split="ssl4mis")


def test_folds_are_drawn_or_given():
    with pytest.raises(RequestError, match="folds of its own, here 1; leave out folds"):
        study(dataset="acdc", split="ssl4mis", folds=5)


def test_the_template_is_a_study_and_says_the_defaults():
    file = Path(contrabench.__file__).with_name("templates") / "study.toml"
    spec = read_study(file)
    assert len(runs_of(spec, "cpu", "float32")[0]) > len(spec.methods)
    plain = study()
    content = tomllib.loads(file.read_text())
    for name in ("exclude", "folds", "draws", "seeds", "recipe", "without"):
        assert getattr(spec, name) == getattr(plain, name), name
        assert name in content
    for name in LEFT_OUT:
        assert name in file.read_text()


def test_the_ladder_climbs_from_no_augmentation_to_strong_short_and_long():
    file = Path(contrabench.__file__).with_name("templates") / "ladder.toml"
    runs, _ = runs_of(read_study(file), "cpu", "float32")
    rungs = {(run.method, run.deviations.augmentation) for run in runs if run.labels == "10%"}
    both, kinds = ("scratch", "scratch_long"), ("none", "mild", "strong")
    assert rungs == set(itertools.product(both, kinds))
