"""What the tests of the methods share: a stage as a run makes it, on small volumes."""

from dataclasses import replace

import pytest
import torch

from contrabench.data.bank import build_bank
from contrabench.data.prepare import cases_of
from contrabench.model.weights import build_backbone
from contrabench.protocol import ORIENTATIONS, BackboneSpec, Phase, Seeds
from contrabench.training.tasks import PretrainTask


def pretrain_task(
    method, cases, batch=8, stage=None, patients=6, labelled=2, orientations=ORIENTATIONS
):
    """A stage of a method, the first unless told otherwise, on a network four channels wide.

    Labels, where the stage wants any, are those of the first `labelled` patients.
    """
    stage = stage or method.stages()[0]
    pool = [f"patient_{i:02d}" for i in range(patients)]
    bank = build_bank(
        cases_of(cases, pool[:labelled] if stage.labelled_slices_only else pool),
        pool[:labelled] if stage.labels else None,
        orientations,
        torch.device("cpu"),
    )
    net = build_backbone(BackboneSpec(width=4), 0)
    torch.manual_seed(0)
    phase = Phase(images=64, batch=batch, lr=1e-3)
    return PretrainTask(net, method.objective(stage, net), stage, bank, phase, Seeds())


def exactly(batch):
    """The same batch in float64."""
    views = tuple(replace(view, image=view.image.double()) for view in batch.views)
    return replace(batch, views=views)


def agree(found, expected, leaves):
    """A loss in float64 is that of its definition, and so are its gradients."""
    assert found.shape == ()
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    ours, theirs = (
        torch.autograd.grad(loss, leaves, retain_graph=True) for loss in (found, expected)
    )
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-10)


def learn(task, steps, rate):
    """Results of some steps on one batch, in each of which all that is trained gets a gradient."""
    weights = [p for p in task.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=rate)
    batch, results = task.batch(0, 0, 1), []
    for _ in range(steps):
        results.append(task(batch))
        optimizer.zero_grad()
        results[-1].loss.backward()
        assert all(bool(p.grad.any()) for p in weights)
        optimizer.step()
    return results
