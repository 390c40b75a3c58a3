"""From a study to its runs: every method, the references beside it, and no run twice."""

import itertools
from pathlib import Path

import pytest
from tests.makers.studies import RUNTIME, TINY, specs_of

from contrabench.contracts import registry
from contrabench.data.splits import parse_labels
from contrabench.errors import RequestError
from contrabench.protocol import digest
from contrabench.references import CONTROLS, REFERENCES
from contrabench.study.runs import read_methods, runs_of
from contrabench.study.spec import make_study


def runs(**changes):
    """The runs of a study as tables name them, with its notes."""
    asked = {"methods": ["simclr"], "dataset": "phantom", "folds": 3, "budget": TINY}
    off = [*changes.pop("without", ()), *CONTROLS]
    asked |= {"rates": ["uniform"], "without": off, **changes}
    specs, notes = runs_of(make_study(asked, "the test"), RUNTIME.device, RUNTIME.precision)
    found = [(s.variant(), s.labels, s.fold, s.draw, s.seeds.init) for s in specs]
    return found, tuple(note for note in notes if not note.startswith("controls"))


def test_every_combination_of_the_study_is_a_run_and_no_other():
    found, notes = runs(
        methods=["simclr", "hu"],
        labels=["10%", "40%"],
        draws=2,
        seeds=2,
        test_folds=[0, 2],
        without=list(REFERENCES),
    )
    wanted = itertools.product(("simclr", "hu"), ("10%", "40%"), (0, 2), (0, 1), (0, 1))
    assert sorted(found) == sorted(wanted)
    assert "every table will say that they are missing" in notes[0]


def test_all_methods_have_one_draw_of_a_fold_before_any_has_the_next():
    found, _ = runs(methods=["simclr", "hu"], labels=["10%", "40%"], draws=2, test_folds=[0, 2])
    places = [(fold, draw) for _, _, fold, draw, _ in found]
    assert places == sorted(places)


def test_the_references_stand_beside_every_study_unless_switched_off_by_name():
    found, notes = runs(draws=2, test_folds=[1], labels=["10%", "20%"])
    assert notes == ()
    cells = set(itertools.product(("10%", "20%"), (1,), (0, 1), (0,)))
    for name in ("scratch", "scratch_long", "simclr"):
        assert cells <= {run[1:] for run in found if run[0] == name}
    assert ("scratch", "100%", 1, 0, 0) in found
    assert len(found) == 3 * len(cells) + 1


def test_another_loss_has_a_scratch_with_it_beside_the_plain_references(monkeypatch):
    registry.losses.names()
    monkeypatch.setattr(registry.losses, "_registered", dict(registry.losses._registered))

    @registry.register_loss("other")
    class Other(registry.losses.get("dice_ce")):
        """The common one by another name."""

    found, _ = runs(loss="other", draws=1, test_folds=[0])
    assert {run[0] for run in found if run[1] == "10%"} == {
        *("scratch", "scratch_long", "scratch[loss=other]", "simclr[loss=other]")
    }
    assert {run[0] for run in found if run[1] == "100%"} == {"scratch"}


@pytest.mark.parametrize("off", REFERENCES)
def test_each_reference_can_be_switched_off_alone(off):
    whole, _ = runs()
    found, notes = runs(without=[off])
    gone = {
        "scratch": {run for run in whole if run[0] == "scratch" and run[1] != "100%"},
        "scratch_long": {run for run in whole if run[0] == "scratch_long"},
        "full_supervision": {run for run in whole if run[1] == "100%"},
    }[off]
    assert gone
    assert set(whole) - set(found) == gone
    assert set(found) <= set(whole)
    assert off in notes[0]


def test_a_method_that_changes_fine_tuning_gets_a_scratch_that_does_so_too():
    def scratches(**changes):
        return {run[0] for run in runs(**changes)[0] if run[0].startswith("scratch[")}

    matched = {"scratch[deep_supervision=true]"}
    assert scratches(methods=["mmgl"]) == matched
    assert scratches(methods=["simclr"]) == set()
    assert scratches(methods=["simclr[deep_supervision=true]"]) == matched
    assert scratches(methods=["mmgl[deep_supervision=false]"]) == set()
    assert scratches(methods=["mmgl"], deep_supervision=False) == set()
    assert scratches(methods=["simclr"], deep_supervision=True) == matched
    assert scratches(methods=["mmgl"], without=["scratch"]) == set()
    # It stands at every fraction and draw of the study.
    found, _ = runs(methods=["mmgl"], labels=["10%", "40%"], draws=2)
    mmgl = {run[1:] for run in found if run[0] == "mmgl"}
    assert {run[1:] for run in found if run[0] in matched} == mmgl


def test_references_have_no_deviations_whatever_the_study_asks():
    found, _ = runs(methods=["simclr"], views="all", deep_supervision=True)
    names = {run[0] for run in found}
    assert names == {
        "scratch",
        "scratch_long",
        "scratch[deep_supervision=true]",
        "simclr[deep_supervision=true, views=all]",
    }


def test_all_labels_are_drawn_once():
    found, _ = runs(labels=["10%", "100%"], draws=3)
    assert {run[3] for run in found if run[1] == "100%"} == {0}
    assert {run[3] for run in found if run[1] == "10%"} == {0, 1, 2}
    alone, _ = runs(labels=["100%"], draws=3, without=list(REFERENCES))
    assert len(alone) == 3


@pytest.mark.parametrize(
    "methods",
    [
        ["simclr", "simclr", "instance contrast"],
        ["instance contrast", "simclr"],
        ["scratch", "scratch_long", "simclr"],
        ["reference", "scratch"],
        ["all", "mmgl"],
    ],
)
def test_no_run_is_there_twice(methods):
    found, _ = runs(methods=methods, labels=["10%", "100%"], draws=2)
    assert len(found) == len(set(found))


def test_a_reference_that_is_named_is_a_run_like_others_where_references_are_off():
    found, _ = runs(methods=["scratch"], without=list(REFERENCES))
    assert {run[0] for run in found} == {"scratch"}


def test_a_deviation_in_brackets_goes_before_that_of_the_study():
    found, _ = runs(methods=["mmgl[views=axial]"], views="all", without=list(REFERENCES))
    assert {run[0] for run in found} == {"mmgl[views=axial]"}


def unpublished():
    """Methods with pre-training and without a published recipe."""
    found = ((name, registry.methods.get(name)) for name in registry.methods.names())
    return [name for name, cls in found if cls.published is None and cls().stages()]


def test_under_published_recipes_a_method_without_one_is_left_out_with_a_note_or_refused():
    names = unpublished()
    assert names
    found, notes = runs(methods=["all"], recipe="published", test_folds=[0], draws=1)
    ran = {run[0].partition("[")[0] for run in found}
    assert not ran & set(names)
    assert {"simclr", "scratch", "scratch_long"} <= ran
    listed = {name for name in names if any(note.startswith(f"left out: {name}") for note in notes)}
    assert listed == {one.name for one in read_methods(["all"], [])} & set(names)
    with pytest.raises(RequestError, match=f"{names[0]}: no published recipe"):
        runs(methods=[names[0]], recipe="published")
    assert any(run[0] == names[0] for run in runs(methods=[names[0]])[0])


def test_fractions_and_options_reach_the_runs_as_they_were_meant():
    spec = make_study(
        {
            "methods": ["simclr"],
            "dataset": "phantom",
            "labels": ["0.125"],
            "dataset_options": {"seed": 3, "patients": 7},
            "accumulate": 2,
            "budget": TINY,
        },
        "the test",
    )
    run = runs_of(spec, RUNTIME.device, RUNTIME.precision)[0][0]
    dataset = run.open_dataset(None)
    assert parse_labels(run.labels) == 0.125
    assert (dataset.options.patients, dataset.options.seed) == (7, 3)
    assert run.budget.pretrain.accumulate == 2


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"methods": ["simclrr"]}, "simclr"),
        ({"methods": ["simclr"], "exclude": ["simclr"]}, "no method is left"),
    ],
)
def test_wrong_words_are_refused(changes, word):
    with pytest.raises(RequestError, match=word):
        runs(**changes)


def spec(method="mmgl", labels="10%", **asked):
    (found,) = specs_of(methods=[method], labels=[labels], **asked)
    return found


def test_defaults_are_the_methods_own():
    plain, mmgl = spec("simclr"), spec()
    assert (plain.deviations.views, plain.deviations.deep_supervision) == ("axial", False)
    assert (mmgl.deviations.views, mmgl.deviations.deep_supervision) == ("all", True)
    assert mmgl.budget.name == "quick"


def test_deviations_can_be_switched_either_way():
    assert spec("simclr", views="all").deviations.views == "all"
    assert not spec(deep_supervision=False).deviations.deep_supervision


@pytest.mark.parametrize("labels", ["0.1", "10.0%", "10%"])
def test_equal_fractions_are_one_run(labels):
    assert digest(spec(labels=labels)) == digest(spec())


def test_draws_and_seeds_are_how_many_or_which():
    assert {run.draw for run in specs_of(draws=3)} == {0, 1, 2}
    assert [(run.draw, run.seeds.init) for run in specs_of(draws=[2], seeds=[4, 7])] == [
        (2, 4),
        (2, 7),
    ]


def test_options_reach_the_plug_ins():
    run = spec("mmgl[variant=U]", dataset_options={"patients": 7})
    assert run.open_method().options.variant == "U"
    assert len(run.open_dataset(None).cases()) == 7


def test_accumulation_is_part_of_the_budget():
    budget = spec(accumulate=4).budget
    assert (budget.pretrain.accumulate, budget.finetune.accumulate) == (4, 4)
    assert spec(accumulate=1).budget == spec().budget


def test_a_dataset_without_its_folder_is_refused():
    run = spec(dataset="acdc")
    with pytest.raises(RequestError, match="--data"):
        run.open_dataset(None)
    assert run.open_dataset(Path("anywhere")).info.needs_path


def test_the_references_stand_beside_joint_methods_too():
    found, _ = runs(methods=["mean_teacher", "simclr+bcp"], labels=["10%"], draws=2)
    variants = {run[0] for run in found}
    assert variants == {"scratch", "scratch_long", "mean_teacher", "simclr+bcp"}
    cells = {name: {run[1:] for run in found if run[0] == name} for name in variants}
    assert cells["mean_teacher"] == cells["simclr+bcp"] == cells["scratch_long"]
    # A network that is averaged gets a scratch beside it that is averaged, too.
    specs, _ = runs(methods=["mean_teacher"], score="teacher")
    averaged = {"scratch[score=teacher]", "mean_teacher[score=teacher]"}
    assert {run[0] for run in specs} == {"scratch", "scratch_long", *averaged}


def controlled(**changes):
    """The runs of a study as `runs` gives them, with its controls and its own choice of rates."""
    asked = {"methods": ["simclr"], "dataset": "phantom", "folds": 3, "budget": TINY, **changes}
    specs, notes = runs_of(make_study(asked, "the test"), RUNTIME.device, RUNTIME.precision)
    return specs, notes


def test_cheap_controls_stand_beside_every_study_in_the_first_draw_and_seed():
    specs, notes = controlled(draws=[1, 2], seeds=2, test_folds=[0, 1], labels=["10%", "100%"])
    assert notes == ()
    cells = set(itertools.product((0, 1), (1,), (0,), ("10%",)))
    for name in ("oracle", "oracle[parts=encoder]", "noise"):
        mine = [s for s in specs if s.variant() == name and s.rates == "uniform"]
        assert {(s.fold, s.draw, s.seeds.init, s.labels) for s in mine} == cells
        assert len(mine) == len(cells)
    assert not {s.method for s in specs} & {"heads_only", "shuffled"}
    # One that is asked for is a row like others.
    specs, _ = controlled(methods=["oracle"], draws=2, labels=["10%"])
    assert {s.draw for s in specs if s.variant() == "oracle"} == {0, 1}


@pytest.mark.parametrize("off", CONTROLS)
def test_controls_are_left_out_with_a_line(off):
    specs, notes = controlled(without=[off])
    (other,) = set(CONTROLS) - {off}
    assert other in {s.method for s in specs}
    assert off not in {s.method for s in specs}
    assert notes == (f"controls switched off: {off}; every table will say that they are missing",)


def test_rates_are_both_for_few_methods_and_those_that_are_named_else():
    def levels(**changes):
        specs, _ = controlled(labels=["10%"], draws=1, test_folds=[0], **changes)
        return {name: [s.rates for s in specs if s.method == name] for name in FEW}

    few = levels(methods=["simclr", "heads_only", "cps"])
    assert few["simclr"] == few["noise"] == ["uniform", "gentle"]
    # Nothing is handed over: both are one run.
    for name in ("scratch", "scratch_long", "heads_only", "cps"):
        assert set(few[name]) == {""}
    many = levels(methods=["contrast before"])
    assert many["simclr"] == many["noise"] == ["uniform"]
    assert levels(methods=["contrast before"], rates=["gentle", "uniform"])["simclr"] == [
        "gentle",
        "uniform",
    ]
    with pytest.raises(RequestError, match="rates"):
        controlled(rates=["slow"])


FEW = ("simclr", "heads_only", "cps", "scratch", "scratch_long", "noise")
