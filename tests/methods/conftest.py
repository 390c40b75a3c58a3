"""What the tests of the methods share: a stage as a run makes it, on small volumes."""

from dataclasses import replace

import pytest
import torch

from contrabench.contracts.objective import JointBatch
from contrabench.data.bank import build_bank
from contrabench.data.prepare import cases_of
from contrabench.model.segmentation import build_segmenter
from contrabench.model.weights import build_backbone
from contrabench.protocol import ORIENTATIONS, BackboneSpec, Phase, Seeds
from contrabench.testing.trial import RUNTIME
from contrabench.training.step import Step
from contrabench.training.tasks import FinetuneTask, JointTask, PretrainTask, build_joint


def pretrain_task(
    method, cases, batch=8, stage=None, patients=6, labelled=2, orientations=ORIENTATIONS, net=None
):
    """A stage of a method, the first unless told otherwise, on a network four channels wide, or on
    another one.

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
    net = build_backbone(BackboneSpec(width=4), 0) if net is None else net
    torch.manual_seed(0)
    phase = Phase(images=64, batch=batch, lr=1e-3)
    objective = method.objective(stage, net)
    if stage.labels:
        objective.classify(3)
    return PretrainTask(net, objective, stage, bank, phase, Seeds())


def finetune_task(cases, batch=8, labelled=2, net=None, deep=False):
    """The common fine-tuning on the masks of the first patients: scratch, to a joint stage."""
    seen = [f"patient_{i:02d}" for i in range(labelled)]
    bank = build_bank(cases_of(cases, seen), seen, ("axial",), torch.device("cpu"))
    net = build_backbone(BackboneSpec(width=4), 0) if net is None else net
    phase = Phase(images=8 * batch, batch=batch, lr=1e-2)
    return FinetuneTask(build_segmenter(net, 3, deep, 0), bank, phase, Seeds())


def joint_task(
    method, cases, batch=8, stage=None, patients=6, labelled=2, others=None, net=None, deep=False
):
    """A joint stage of a method, the first unless told otherwise, of eight steps.

    Masks are those of the first `labelled` patients, as in `finetune_task`; labels that a stage
    before would predict are the true ones. Each stream draws `others` slices in a step, as many as
    are labelled unless told otherwise. `net` is another backbone than the U-Net four channels wide.
    """
    stage = stage or method.joint_stages()[0]
    common = finetune_task(cases, batch, labelled, net, deep)
    pool = [f"patient_{i:02d}" for i in range(patients)]
    drawn = {"unlabelled": pool[labelled:], "labelled": pool[:labelled], "any": pool}
    banks = []
    for stream in stage.streams:
        seen = drawn[stream.draws]
        known = [name for name in seen if stream.masks != "labels" or name in pool[:labelled]]
        banks.append(
            build_bank(
                cases_of(cases, seen),
                None if stream.masks == "none" else known,
                ("axial",),
                torch.device("cpu"),
            )
        )
    objective = build_joint(method, stage, common.model, "test", stage.name)
    sizes = [others or batch] * len(banks)
    return JointTask(common, objective, stage, banks, sizes, Seeds(), steps=8)


def batch_normed(kind=torch.nn.BatchNorm2d):
    """The U-Net four channels wide, its layers normalised by batch, whatever is usual."""
    net = build_backbone(BackboneSpec(width=4), 0)
    for module in net.modules():
        for name, layer in module.named_children():
            if isinstance(layer, torch.nn.InstanceNorm2d | torch.nn.BatchNorm2d):
                setattr(module, name, kind(layer.num_features, affine=True))
    return net


def image_normed():
    """The same, each image by itself: predictions do not depend on others, nor on the mode."""
    return batch_normed(torch.nn.InstanceNorm2d)


def take_steps(task, steps=3, start=0):
    """Some of the eight steps of fine-tuning, as the loop takes them; their losses.

    Gradients are always clipped, so that what is clipped together shows.
    """
    step = Step(task, Phase(images=64, batch=8, lr=1e-2, clip=0.1), RUNTIME, 8)
    return [step.take(number)["loss"].item() for number in range(start, start + steps)]


def halfway(logits):
    """A threshold that about half of the pixels of logits (B, C, H, W) reach, none nearly."""
    sure = torch.softmax(logits.detach(), 1).amax(1).flatten().sort().values
    middle = sure[int(0.4 * len(sure)) : int(0.6 * len(sure))]
    place = int(middle.diff().argmax())
    return float(middle[place : place + 2].mean())


def exactly(batch):
    """The same batch in float64."""
    if isinstance(batch, JointBatch):
        streams = tuple(exactly(stream) for stream in batch.streams)
        return replace(batch, labelled=exactly(batch.labelled), streams=streams)
    views = tuple(replace(view, image=view.image.double()) for view in batch.views)
    return replace(batch, views=views)


def agree(found, expected, leaves, rel=1e-6):
    """A loss in float64 is that of its definition, and so are its gradients.

    With another tolerance where a part of it, such as logits, is always of single precision.
    """
    assert found.shape == ()
    assert found.item() == pytest.approx(expected.item(), rel=rel)
    ours, theirs = (
        torch.autograd.grad(loss, leaves, retain_graph=True) for loss in (found, expected)
    )
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=rel, atol=rel / 10_000)


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
