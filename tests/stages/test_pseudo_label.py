"""Pseudo-labels: thresholds and pieces by hand, whose masks are replaced, and a foreign model."""

import itertools

import numpy as np
import pytest
import torch
from tests.makers.studies import RUNTIME, TINY, make_spec

from contrabench.contracts.method import JointStage, Predicted, Stream
from contrabench.contracts.views import IGNORE
from contrabench.data.bank import mask_slices
from contrabench.errors import AuditError
from contrabench.evaluation.inference import predict_slices
from contrabench.progress import Silent
from contrabench.stages import finetune
from contrabench.stages.kind import WEIGHTS, Making, nodes_of, read_record
from contrabench.stages.pseudo_label import _decide, labelling
from contrabench.stages.run import Run
from contrabench.store.stages import StageStore
from contrabench.training.checkpoint import load_weights

FEW = TINY.model_copy(
    update={"finetune": TINY.finetune.model_copy(update={"images": 4 * 8, "batch": 8})}
)


def stage_with(**wanted):
    return JointStage(name="second", streams=(Stream(masks=Predicted(**wanted)),))


def run_of(prepared, method="rounds", options=None, **changes):
    return Run(make_spec(method, options, budget=FEW, **changes), prepared[1])


def making_of(run, store):
    return Making(run, StageStore(store, Silent()), RUNTIME)


def shares(shape, classes, seed=0):
    rng = np.random.default_rng(seed)
    drawn = rng.random((shape[0], classes, *shape[1:]), dtype=np.float32) ** 3
    return drawn / drawn.sum(1, keepdims=True)


def test_below_the_threshold_a_pixel_is_nobodys():
    given = shares((3, 5, 4), 3)
    found = _decide(given, 0.6, largest=False)
    assert found.dtype == np.uint8
    for n, h, w in itertools.product(range(3), range(5), range(4)):
        likeliest = int(given[n, :, h, w].argmax())
        sure = given[n, likeliest, h, w] >= 0.6
        assert found[n, h, w] == (likeliest if sure else IGNORE)
    assert 0 < (found == IGNORE).sum() < found.size
    assert not (_decide(given, 0.0, largest=False) == IGNORE).any()


def pieces(mask):
    """Connected parts of a volume over all 26 neighbours, the largest first."""
    left, found = {tuple(place) for place in np.argwhere(mask)}, []
    steps = [step for step in itertools.product((-1, 0, 1), repeat=3) if any(step)]
    while left:
        front, piece = [left.pop()], set()
        while front:
            here = front.pop()
            piece.add(here)
            near = [tuple(np.add(here, step)) for step in steps]
            front += [place for place in near if place in left]
            left -= set(near)
        found.append(piece)
    return sorted(found, key=len, reverse=True)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_largest_part_of_each_structure_stays_in_three_dimensions(seed):
    # Mostly background, so that structures fall into parts.
    given = shares((5, 8, 8), 4, seed)
    given[:, 0] += 0.35
    given /= given.sum(1, keepdims=True)
    plain, found = (_decide(given, 0.0, largest) for largest in (False, True))
    for value in (1, 2, 3):
        parts = pieces(plain == value)
        assert len(parts) > 1
        stayed = {tuple(place) for place in np.argwhere(found == value)}
        assert stayed in [part for part in parts if len(part) == len(parts[0])]
    assert (found[plain == 0] == 0).all()
    assert set(np.unique(found[(found != plain)])) <= {0}


def test_a_structure_in_one_part_or_none_is_left_alone():
    labels = np.zeros((3, 6, 6), int)
    labels[1, 2:4, 2:4] = 1
    # Corner to corner, across slices.
    labels[2, 4, 4] = 1
    given = np.eye(3, dtype=np.float32)[labels].transpose(0, 3, 1, 2)
    assert np.array_equal(_decide(given, 0.5, largest=True), labels)


@pytest.mark.parametrize("draws", ["any", "unlabelled"])
def test_masks_that_may_be_seen_stay_and_all_others_are_predicted(
    prepared, tmp_path, rounds, draws
):
    options = {"draws": draws, "threshold": 0.2, "largest": True}
    run = run_of(prepared, options=options)
    making = making_of(run, tmp_path)
    first, labels, second, *_ = nodes_of(run)
    assert labels.units == len(labels.spec["data"]) == 1
    for node in (first, labels):
        folder = making.make(node)
    assert read_record(folder)["cases"] == list(labels.spec["data"])
    (bank,), told = finetune._banks(making, second, run.tuner.joint_stages()[1])
    assert told[-1] == "pseudo-labels of 1 volumes from masks of 1"
    model = run.segmenter(run.backbone())
    model.load_state_dict(load_weights(tmp_path / "stages" / "finetune" / first.key / WEIGHTS))
    cases, known = run.drawn(draws), run.manifest.patients
    assert {case.patient in known for case in cases} == (
        {True, False} if draws == "any" else {False}
    )
    for index, case in enumerate(cases):
        own = bank.masks[bank.volume == index]
        if case.patient in known:
            assert torch.equal(own, mask_slices(case, "axial", visible=True))
        else:
            expected = _decide(predict_slices(model, case, RUNTIME).numpy(), 0.2, largest=True)
            assert np.array_equal(own.numpy(), expected)
            assert (own != mask_slices(case, "axial", visible=True)).any()
    making.make(second)


def test_where_all_are_labelled_nothing_is_predicted(prepared, tmp_path, rounds):
    run = run_of(prepared, labels="100%")
    making = making_of(run, tmp_path)
    first, labels, second, *_ = nodes_of(run)
    assert (labels.units, labels.spec["data"]) == (0, {})
    for node in (first, labels):
        making.make(node)
    (bank,), told = finetune._banks(making, second, run.tuner.joint_stages()[1])
    assert told[-1] == "pseudo-labels of 0 volumes from masks of 2"
    for index, case in enumerate(run.drawn("unlabelled")):
        expected = mask_slices(case, "axial", visible=True)
        assert torch.equal(bank.masks[bank.volume == index], expected)
    assert labels.of_kind.seconds_per_unit(run, labels, RUNTIME) < 0.5


def test_rule_2_a_model_that_has_seen_other_masks(prepared, tmp_path):
    """Planted: a model of all labels predicts for a run of half of them."""
    rich, poor = (run_of(prepared, "scratch", labels=labels) for labels in ("100%", "50%"))
    made = making_of(rich, tmp_path)
    model, *_ = nodes_of(rich)
    made.make(model)
    stranger = set(rich.manifest.patients) - set(poor.manifest.patients)
    cases = poor.drawn("unlabelled")
    stage = stage_with()
    node = labelling(poor, stage, 0, cases, model.key)
    with pytest.raises(AuditError, match=f"rule 2.*{'|'.join(stranger)}"):
        making_of(poor, tmp_path).make(node)
    # One of its own labels is none.
    making_of(rich, tmp_path).make(labelling(rich, stage, 0, cases, model.key))


def test_their_key_is_of_model_volumes_and_options(prepared):
    run = run_of(prepared, "scratch")
    cases = run.drawn("unlabelled")

    def key(drawn=cases, model="a" * 16, **wanted):
        return labelling(run, stage_with(**wanted), 0, drawn, model).key

    others = {
        key(threshold=0.5), key(largest=True), key(model="b" * 16), key(drawn=[])
    }  # fmt: skip
    assert key() not in others
    assert len(others) == 4
    # Labelled volumes are not predicted: a stream of all slices needs the same labels.
    assert key(drawn=run.drawn("any")) == key()
    # A stream without any asks for none.
    (plain,) = run_of(prepared, "mean_teacher").tuner.joint_stages()
    assert labelling(run, plain, 0, cases, "a" * 16) is None
