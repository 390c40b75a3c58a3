"""Fine-tuning in joint stages: what each begins from, sees, leaves and costs."""

import dataclasses

import pytest
import torch
from tests.makers.studies import RUNTIME, TINY, make_run
from tests.makers.studies import make_spec as spec_of

from contrabench.contracts import registry
from contrabench.errors import AuditError
from contrabench.progress import Silent
from contrabench.stages import audit, finetune, recipe
from contrabench.stages.kind import WEIGHTS, Making, nodes_of, of_kind, read_record
from contrabench.stages.run import Run
from contrabench.store.stages import StageStore, home_of
from contrabench.training import loop
from contrabench.training.checkpoint import load_weights
from contrabench.training.stop import Interrupted

SHORT = TINY.model_copy(
    update={
        name: getattr(TINY, name).model_copy(update={"images": 8 * 8, "batch": 8})
        for name in ("pretrain", "finetune")
    }
)
"""Eight steps of eight slices."""


def make_spec(method="mmgl", options=None, **changes):
    return spec_of(method, options, **{"budget": SHORT, **changes})


def run_of(prepared, method="mean_teacher", options=None, **changes):
    return Run(make_spec(method, options, **changes), prepared[1])


def tuned(nodes):
    return of_kind(nodes, "finetune")


def tune(run, store):
    """Makes all of a run but its evaluation; the weights and records of its fine-tunings."""
    making = Making(run, StageStore(store, Silent()), RUNTIME)
    nodes = [node for node in nodes_of(run) if node.kind not in ("evaluate", "runs")]
    folders = {node.key: making.make(node) for node in nodes}
    last = [folders[node.key] for node in tuned(nodes)]
    return [load_weights(path / WEIGHTS) for path in last], [read_record(path) for path in last]


def evidence(run, records):
    return {one["rule"]: one["evidence"] for one in audit.evidence(run, [], records)}


def same(first, second):
    return set(first) == set(second) and all(torch.equal(v, second[n]) for n, v in first.items())


def scoring(score="teacher"):
    return {"deviations": registry.methods.get("bcp").deviations.model_copy(
        update={"score": score})}  # fmt: skip


# -- what follows from what -----------------------------------------------------------


def test_each_stage_goes_on_from_the_one_before_or_begins_anew(prepared, rounds):
    for restarts in (False, True):
        run = run_of(prepared, "rounds", {"restarts": restarts})
        nodes = nodes_of(run)
        assert [node.kind for node in nodes] == [
            "finetune", "pseudo_label", "finetune", "evaluate", "runs"
        ]  # fmt: skip
        first, labels, second, scores, _ = nodes
        assert labels.inputs == (first.key,)
        assert second.inputs == ((labels.key,) if restarts else (labels.key, first.key))
        # What the network was on the way is scored as well.
        assert scores.inputs == (first.key, second.key)
        assert first.units + second.units == SHORT.finetune.steps
        assert not any(node.label_free for node in nodes)
        assert [node.title for node in nodes[:3]] == [
            "fine-tuning (first)", "pseudo-labels (for second)", "fine-tuning (second)"
        ]  # fmt: skip


def test_both_begin_from_what_was_pre_trained(prepared):
    spec = make_spec("simclr", joint="bcp", joint_options=options_of("bcp"))
    before, first, second, *_ = nodes_of(Run(spec, prepared[1]))
    assert (first.inputs, second.inputs) == ((before.key,), (first.key,))
    assert before.label_free


def options_of(name, **options):
    return registry.methods.get(name).Options(**options).model_dump(mode="json")


@pytest.mark.parametrize("restarts", [False, True])
def test_the_weights_at_the_start_are_those(prepared, tmp_path, rounds, restarts):
    run = run_of(prepared, "rounds", {"restarts": restarts})
    making = Making(run, StageStore(tmp_path, Silent()), RUNTIME)
    first, _, second, *_ = nodes_of(run)
    making.make(first)
    begun, transfer = finetune._begun(making, second)
    expected = load_weights(tmp_path / "stages" / "finetune" / first.key / WEIGHTS)
    initial = run.segmenter(run.backbone()).state_dict()
    assert same(begun.state_dict(), initial if restarts else expected)
    assert not same(initial, expected)
    assert transfer["matched"] == 0


# -- keys -----------------------------------------------------------------------------


def keys(prepared, method="bcp", options=None, **changes):
    return [node.key for node in nodes_of(run_of(prepared, method, options, **changes))]


def test_what_a_stage_does_not_depend_on_does_not_change_its_key(prepared, rounds):
    first, second, *_ = keys(prepared)
    scored, last, *_ = keys(prepared, **scoring())
    assert scored == first
    assert last != second
    other, another, *_ = keys(prepared, options={"first": 0.25, "keep": 0.9})
    # All options of a method are part of each of its stages.
    assert {other, another}.isdisjoint({first, second})


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": "100%"},
        {"draw": 1},
        {"seeds": make_spec().seeds.model_copy(update={"order": 1})},
        {"options": {"threshold": 0.5}},
        {"options": {"largest": True}},
        {"options": {"draws": "any"}},
        {"options": {"second": 2.0}},
    ],
    ids=str,
)
def test_pseudo_labels_and_what_learns_from_them_have_keys_of_their_own(prepared, rounds, changes):
    before = keys(prepared, "rounds")
    after = keys(prepared, "rounds", **changes)
    assert set(before[1:]).isdisjoint(after[1:])


def test_only_a_stage_that_draws_them_depends_on_slices_without_labels(prepared):
    run = run_of(prepared)
    cases = list(run.cases)
    known = set(run.manifest.patients)
    place = next(
        number
        for number, case in enumerate(cases)
        if case.patient in run.split.train and case.patient not in known
    )
    changed = dataclasses.replace(cases[place], fingerprint="f" * 32)

    def tuning(method):
        found = []
        for images in (cases, [*cases[:place], changed, *cases[place + 1 :]]):
            nodes = tuned(nodes_of(Run(make_spec(method), images)))
            found.append([node.key for node in nodes])
        return found

    assert tuning("scratch")[0] == tuning("scratch")[1]
    assert tuning("mixup")[0] == tuning("mixup")[1]
    for before, after in (tuning("mean_teacher"),):
        assert before != after
    # The first stage of BCP sees labelled slices alone, the second all others too.
    before, after = tuning("bcp")
    assert (before[0] == after[0], before[1] == after[1]) == (True, False)


# -- what is drawn --------------------------------------------------------------------


@pytest.mark.parametrize("labels", ["50%", "100%"])
def test_streams_draw_training_patients_alone_and_any_where_all_are_labelled(prepared, labels):
    run = run_of(prepared, labels=labels)
    known, test = set(run.manifest.patients), set(run.split.test)
    drawn = {which: {c.patient for c in run.drawn(which)} for which in
             ("any", "labelled", "unlabelled")}  # fmt: skip
    assert drawn["any"] == set(run.split.train)
    assert drawn["labelled"] == known
    every = labels == "100%"
    assert drawn["unlabelled"] == (drawn["any"] if every else drawn["any"] - known)
    assert all(test.isdisjoint(patients) for patients in drawn.values())


def test_masks_travel_only_where_a_stream_asks_and_only_the_manifests(prepared, tmp_path, rounds):
    making = Making(run_of(prepared), StageStore(tmp_path, Silent()), RUNTIME)
    (node,) = tuned(nodes_of(making.run))
    (stage,) = making.run.tuner.joint_stages()
    (bank,), (told,) = finetune._banks(making, node, stage)
    assert bank.masks is None
    assert told.endswith("no masks")
    # The bank of all training slices with masks holds those of the manifest.
    masked = stage.streams[0].model_copy(update={"draws": "any", "masks": "labels"})
    (bank,), (told,) = finetune._banks(
        making, node, stage.model_copy(update={"streams": (masked,)})
    )
    assert bank.labelled == tuple(making.run.manifest.patients)
    assert told.endswith("masks of 1")
    hidden = torch.tensor([bank.patients[i] not in bank.labelled for i in bank.patient])
    assert (bank.masks[hidden] == 255).all()
    assert (bank.masks[~hidden] != 255).any()


def test_rule_9_a_joint_method_that_sees_more(prepared, tmp_path, monkeypatch):
    assert audit.check_images(SHORT, [], 64, 0.0, [], 64)
    with pytest.raises(AuditError, match="rule 9.*65 slices"):
        audit.check_images(SHORT, [], 64, 0.0, [], 65)
    # A slice in every micro-batch is the least that a stream can draw.
    assert audit.check_images(SHORT, [], 64, 0.0, [], 80, 80)
    real = recipe.unlabelled_batches
    double = [lambda *given: [2 * size for size in real(*given)]]
    monkeypatch.setattr(finetune, "unlabelled_batches", *double)
    run = run_of(prepared)
    _, records = tune(run, tmp_path)
    with pytest.raises(AuditError, match="rule 9.*128 slices"):
        evidence(run, records)


def test_fewer_slices_than_micro_batches_are_within_the_rule(prepared, tmp_path):
    phases = {
        "pretrain": SHORT.pretrain.model_copy(update={"images": 8}),
        "finetune": SHORT.finetune.model_copy(update={"accumulate": 4}),
    }
    run = run_of(prepared, budget=SHORT.model_copy(update=phases))
    _, records = tune(run, tmp_path)
    assert evidence(run, records)[9] == [
        "0 pre-training and 64 fine-tuning images, 32 slices beside these"
    ]


# -- a run ----------------------------------------------------------------------------


def test_the_record_holds_every_stage(prepared, tmp_path, rounds):
    made = make_run(make_spec("rounds", {"draws": "any"}), prepared[1], tmp_path)
    record = made.record
    nodes = nodes_of(Run(make_spec("rounds", {"draws": "any"}), prepared[1]))
    assert record["stages"] == {
        "pretrain": [],
        "pseudo_label": [nodes[1].key],
        "joint": [nodes[0].key],
        "finetune": nodes[2].key,
        "evaluate": nodes[3].key,
    }
    # The second half of the steps sees all others: the first has no stream.
    assert record["images"] == {"pretrain": [], "finetune": 64, "beside": 64}
    parts = [read_record(home_of(tmp_path, node.kind) / node.key) for node in nodes[:3]]
    assert record["cost"]["finetune_seconds"] == sum(part["seconds"] for part in parts)
    told = {item["rule"]: item["evidence"] for item in record["audit"]}
    assert len(told[2]) == 2
    assert "pseudo-labels of 1 volumes from masks of 1" in told[2][1]
    assert len(told[4]) == 2
    assert told[5] == ["1 views, apart in memory and content"]


def test_after_a_pre_training_the_hand_off_is_told_of_the_first_stage(prepared, tmp_path):
    spec = make_spec("simclr", joint="bcp", joint_options=options_of("bcp"))
    run = Run(spec, prepared[1])
    _, (first, second) = tune(run, tmp_path)
    assert (first["transfer"]["matched"] > 0, second["transfer"]["matched"]) == (True, 0)
    found = {one["rule"]: one["evidence"] for one in audit.evidence(
        run, [{**first, "views": 2, "images": 64}], [first, second])}  # fmt: skip
    assert found[7] == [
        f"{first['transfer']['matched']} tensors of {', '.join(run.method.transfers())}"
    ]
    assert spec.variant() == "simclr+bcp"


def test_the_teacher_is_tested_if_asked_for(prepared, tmp_path):
    student, teacher = (run_of(prepared, "bcp", {"keep": 0.9}, **changes) for changes in
                        ({}, scoring()))  # fmt: skip
    # One first stage serves both.
    assert tuned(nodes_of(student))[0] == tuned(nodes_of(teacher))[0]
    (_, own), _ = tune(student, tmp_path)
    (_, tested), _ = tune(teacher, tmp_path)
    assert set(own) == set(tested)
    assert not same(own, tested)
    assert teacher.spec.variant() == "bcp[keep=0.9, score=teacher]"
    assert teacher.spec.deviations.labels() == ("scores an average of the network",)
    # At an average that keeps nothing the two are one.
    (copied,), (own,) = (
        tune(run_of(prepared, "mean_teacher", {"keep": 0.0}, **changes), tmp_path)[0]
        for changes in (scoring(), {})
    )
    assert same(copied, own)


@pytest.mark.parametrize("name", ["cps", "scratch"])
def test_without_a_teacher_an_average_is_tested(name, prepared, tmp_path):
    (own,), (tested,) = (
        tune(run_of(prepared, name, **changes), tmp_path)[0] for changes in ({}, scoring())
    )
    assert set(own) == set(tested)
    assert not same(own, tested)


def test_a_stage_that_was_stopped_ends_in_the_same_bits(prepared, tmp_path, monkeypatch):
    run = run_of(prepared, "bcp")
    straight, _ = tune(run, tmp_path / "a")
    stops = iter([True, False, False, True])
    monkeypatch.setattr(loop, "any_process", lambda asked: next(stops, False))
    for _ in range(2):
        with pytest.raises(Interrupted):
            tune(run, tmp_path / "b")
    again, records = tune(run, tmp_path / "b")
    assert all(same(*pair) for pair in zip(straight, again, strict=True))
    assert [record["resumed_at"] for record in records] == [[1], [2]]


def test_joint_stages_take_one_device_of_several(prepared, tmp_path):
    """Several share out pre-training alone, as the option says."""
    run = run_of(prepared)
    (node,) = tuned(nodes_of(run))
    found = []
    for devices in (1, 2):
        store = StageStore(tmp_path / str(devices), Silent())
        runtime = dataclasses.replace(RUNTIME, devices=devices)
        found.append(load_weights(Making(run, store, runtime).make(node) / WEIGHTS))
    assert same(*found)


def test_time_and_disk_of_joint_stages_are_foreseen(prepared, rounds):
    run = run_of(prepared, "rounds")
    first, labels, second, *_ = nodes_of(run)
    for node in (first, labels, second):
        assert node.of_kind.seconds_per_unit(run, node, RUNTIME) > 0
        assert node.of_kind.disk(run, node) > 0
    assert len({first.cost, labels.cost, second.cost}) == 3
    # The common fine-tuning and one with a method's own stage cost differently.
    scratch, joint = (tuned(nodes_of(run_of(prepared, name)))[0] for name in
                      ("scratch", "mean_teacher"))  # fmt: skip
    assert scratch.cost != joint.cost
