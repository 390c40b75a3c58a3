"""What every method that trains during fine-tuning must do at its limits."""

import pytest
import torch

from contrabench.contracts import registry
from contrabench.errors import RunError
from contrabench.protocol import Phase
from contrabench.testing.trial import RUNTIME
from contrabench.training.step import Step

from .conftest import batch_normed, finetune_task, joint_task, take_steps

WITHOUT = {
    "bcp": None,  # no labelled slice is seen unmixed, whatever the weights
    "chaitanya_joint": {"weight": 0},
    "cps": {"weight": 0},
    "cutmix": {"area": 0},
    "fixmatch": {"weight": 0},
    "mean_teacher": {"weight": 0},
    "mixup": None,  # by its share alone, see its own tests
    "mona": {
        "relational": 0,
        "unsupervised": 0,
        "contrast": 0,
        "neighbours": 0,
        "equivariance": 0,
    },
    "reco": {"weight": 0},
    "self_training": {"weight": 0},
    "u2pl": {"weight": 0, "contrast": 0},
    "ua_mt": {"weight": 0},
    "ugpcl": {"second": 0, "consistency": 0, "rotation": 0, "contrast": 0},
    "unimatch": {"strong": 0, "dropped": 0},
}
"""Options under which nothing is left but the supervised loss."""
STAGES = [
    (name, number)
    for name in WITHOUT
    for number, stage in enumerate(registry.methods.get(name)().joint_stages())
    if not stage.name.startswith("round ") or stage.name == "round 1"
]


def build(name, **options):
    cls = registry.methods.get(name)
    return cls(cls.Options(**options))


def task_of(name, number, cases, **others):
    method = build(name)
    stage = method.joint_stages()[number]
    return joint_task(method, cases, stage=stage, net=batch_normed(), **others)


def same(first, second):
    return list(first) == list(second) and all(torch.equal(v, second[n]) for n, v in first.items())


def test_none_is_left_out():
    joint = {e.name for e in registry.methods.entries() if e.value().joint_stages()}
    assert set(WITHOUT) == joint


@pytest.mark.parametrize(("name", "number"), [one for one in STAGES if WITHOUT[one[0]]])
def test_at_weight_zero_the_network_is_scratch_in_every_bit(name, number, cases):
    """Running statistics included; with gradients that are clipped, and slices that differ."""
    method = build(name, **WITHOUT[name])
    stage = method.joint_stages()[number]
    task = joint_task(method, cases, stage=stage, net=batch_normed())
    scratch = finetune_task(cases, net=batch_normed())
    take_steps(task)
    take_steps(scratch)
    assert same(task.common.model.state_dict(), scratch.model.state_dict())
    # It would not be the same whatever is done, but for a stage of supervision alone.
    other = joint_task(build(name), cases, stage=stage, net=batch_normed())
    take_steps(other)
    alone = not stage.streams and not other.objective.supervises
    assert same(other.common.model.state_dict(), scratch.model.state_dict()) == alone


@pytest.mark.parametrize(("name", "number"), STAGES)
def test_a_run_and_one_that_is_resumed_at_every_step_end_in_the_same_bits(name, number, cases):
    phase = Phase(images=64, batch=8, lr=1e-2)
    ends = []
    for stops in ((), (1, 2)):
        step = Step(task_of(name, number, cases), phase, RUNTIME, 8)
        for place in range(3):
            if place in stops:
                module, optimizer = step.task.state_dict(), step.optimizer.state_dict()
                step = Step(task_of(name, number, cases), phase, RUNTIME, 8)
                step.task.load_state_dict(module)
                step.optimizer.load_state_dict(optimizer)
            step.take(place)
        ends.append(step.task.state_dict())
    assert same(*ends)


@pytest.mark.parametrize(("name", "number"), STAGES)
def test_no_mask_of_an_unlabelled_slice_is_within_reach(name, number, cases):
    task = task_of(name, number, cases)
    for stream, batch in zip(task.streams, task.batch(0, 0, 1).streams, strict=True):
        if stream.bank.masks is not None:
            continue  # pseudo-labels, or the masks of labelled slices
        with pytest.raises(RunError, match="labels"):
            batch.views[0].label.sum()


@pytest.mark.parametrize(("name", "number"), STAGES)
def test_what_the_method_keeps_takes_no_gradient(name, number, cases):
    task = task_of(name, number, cases)
    take_steps(task, 1)
    task(task.batch(1, 0, 1)).loss.backward()
    kept = dict(task.objective.named_buffers())
    teacher = task.objective.teacher()
    assert (teacher is None) == (not any(".copied." in n or n.startswith("average") for n in kept))
    assert all(value.grad is None and not value.requires_grad for value in kept.values())
    assert all(bool(p.grad.any()) for p in task.common.parameters())


@pytest.mark.parametrize(("name", "number"), STAGES)
def test_more_or_fewer_slices_without_labels_than_with_are_taken(name, number, cases):
    """As many as the budget gives: one of them, or more than there are labelled ones."""
    for others in (1, 11):
        task = task_of(name, number, cases, batch=5, others=others)
        result = task(task.batch(0, 0, 1))
        result.loss.backward()
        assert torch.isfinite(result.loss)


@pytest.mark.parametrize(("name", "number"), STAGES)
def test_deep_supervision_reaches_every_head(name, number, cases):
    task = task_of(name, number, cases, deep=True)
    task(task.batch(0, 0, 1)).loss.backward()
    heads = [head.weight.grad for head in task.common.model.heads]
    assert len(heads) == 3
    assert all(bool(grad.any()) for grad in heads)


@pytest.mark.parametrize("name", ["mean_teacher", "ua_mt", "fixmatch", "reco", "bcp"])
def test_the_teacher_follows_after_the_step_and_is_a_network_to_be_tested(name, cases):
    method = build(name, keep=0.5)
    task = joint_task(method, cases, stage=method.joint_stages()[-1], net=batch_normed())
    before = {n: v.clone() for n, v in task.common.model.state_dict().items()}
    take_steps(task, 1)
    after = task.common.model.state_dict()
    teacher = task.objective.teacher().state_dict()
    assert sorted(teacher) == sorted(after)
    for weight, value in teacher.items():
        if not value.is_floating_point():
            assert torch.equal(value, after[weight])
            continue
        # The first update of the schedule copies; that of BCP, without one, keeps half.
        share = 0.5 if name == "bcp" else 0.0
        expected = share * before[weight] + (1 - share) * after[weight]
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-7)
