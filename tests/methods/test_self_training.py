"""Self-training: what a round adds, and when it is scratch."""

import pytest
import torch
from tests.makers.joint import handmade

from contrabench import Predicted
from contrabench.contracts import registry
from contrabench.contracts.views import IGNORE

from .conftest import finetune_task, joint_task, take_steps

cls = registry.methods.get("self_training")


def method(**options):
    return cls(cls.Options(**options))


def literal(logits, labels):
    """Cross-entropy and Dice over the pixels with a label, class by class."""
    shares = torch.softmax(logits, 1)
    known = [tuple(place) for place in torch.nonzero(labels != IGNORE).tolist()]
    entropy = -sum(torch.log(shares[b, labels[b, y, x], y, x]) for b, y, x in known) / len(known)
    overlap = 0.0
    for c in range(logits.shape[1]):
        p = torch.stack([shares[b, c, y, x] for b, y, x in known])
        hot = torch.tensor([float(labels[place] == c) for place in known])
        overlap += (2 * (p * hot).sum() + 1e-5) / ((p * p).sum() + hot.sum() + 1e-5)
    return entropy + 1 - overlap / logits.shape[1]


@pytest.mark.parametrize("hidden", [False, True])
def test_the_term(hidden):
    step = handmade("self_training", stage=1, weight=0.5, others=1)
    view = step.batch.streams[0].views[0]
    if hidden:
        view.masks[0, ::2] = IGNORE
    assert step.objective.weight_at(0.3) == 0.5
    wanted = literal(step.network.logits(view.image), view.label)
    assert step.take().loss.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_ignored_pixels_have_no_gradient_and_none_at_all_gives_zero():
    step = handmade("self_training", stage=1, others=2)
    view = step.batch.streams[0].views[0]
    view.masks[:] = IGNORE
    loss = step.take().loss
    assert loss.item() == 0
    loss.backward()
    assert not any(w.grad.any() for w in step.network.parameters() if w.grad is not None)


def test_the_rounds_begin_anew_with_the_labels_of_the_stage_before():
    stages = method(rounds=2, threshold=0.9, largest=True).joint_stages()
    assert [stage.name for stage in stages] == ["labelled", "round 1", "round 2"]
    assert [stage.restarts for stage in stages] == [False, True, True]
    assert len({stage.share for stage in stages}) == 1
    assert stages[0].streams == ()
    for stage in stages[1:]:
        assert [s.masks for s in stage.streams] == [Predicted(threshold=0.9, largest=True)]
        assert [s.draws for s in stage.streams] == ["unlabelled"]


@pytest.mark.parametrize(("options", "stage"), [({"rounds": 0}, 0), ({}, 0), ({"weight": 0}, 1)])
def test_without_rounds_or_weight_it_is_scratch(cases, options, stage):
    item = method(**options)
    joint = joint_task(item, cases, batch=4, stage=item.joint_stages()[stage])
    plain = finetune_task(cases, batch=4)
    take_steps(joint), take_steps(plain)
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, joint.common.model.state_dict()[name]), name


@pytest.mark.parametrize(("classes", "others"), [(2, 1), (8, 2)])
def test_few_slices_and_any_number_of_classes(classes, others):
    step = handmade("self_training", stage=1, classes=classes, others=others, blank=True)
    result = step.take()
    assert torch.isfinite(result.loss)
    result.loss.backward()
