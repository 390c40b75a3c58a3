"""UGPCL against its definition: the gate, anchors, keys, the contrast and the other terms."""

import math

import pytest
import torch
from tests.makers.joint import handmade, module_of

from contrabench.contracts import registry
from contrabench.contracts.views import IGNORE
from contrabench.model.segmentation import SegmentationLoss

from .conftest import agree

cls = registry.methods.get("ugpcl")
module = module_of("ugpcl")
NOTHING = {"second": 0.0, "consistency": 0.0, "rotation": 0.0, "contrast": 0.0}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def unit(*shape, seed=0):
    values = torch.randn(shape, generator=seeded(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(values, dim=1).detach().requires_grad_()


@pytest.mark.parametrize("kinds", [[0, 0, 1, 2, 2], [0, 1], [2, 2, 2], [0, 0, 3], [0, -1, 1, -1]])
def test_the_contrast_with_means(kinds):
    anchors, own = unit(5, 4), torch.tensor([0, 1, 2, 2, 0])
    keys, tau = unit(len(kinds), 4, seed=1).detach(), 0.2
    terms = []
    for a, c in enumerate(own.tolist()):
        alike = [torch.exp(anchors[a] @ key / tau) for key in keys]
        others = [s for s, k in zip(alike, kinds, strict=True) if k not in (c, -1)]
        repelled = sum(others, torch.zeros(()))
        drawn = [s for s, k in zip(alike, kinds, strict=True) if k == c]
        if drawn:
            terms.append(sum(-torch.log(s / (s + repelled)) for s in drawn) / len(drawn))
    wanted = sum(terms) / len(terms)
    found = module.contrast_with_means(anchors, own, keys, torch.tensor(kinds), tau)
    if float(wanted.detach()) == 0:  # no other class: nothing repels
        assert found.item() == pytest.approx(0, abs=1e-12)
        return
    agree(found, wanted, (anchors,))


@pytest.mark.parametrize("kinds", [[-1, -1], [1, 3]])
def test_no_key_of_an_anchor_s_class_gives_zero(kinds):
    anchors, own = unit(2, 4), torch.tensor([0, 2])
    keys = torch.ones(len(kinds), 4, dtype=torch.float64)
    kinds = torch.tensor(kinds, dtype=torch.long)
    found = module.contrast_with_means(anchors, own, keys, kinds, 0.1)
    (gradient,) = torch.autograd.grad(found, anchors)
    assert found.item() == 0
    assert not gradient.any()


@pytest.mark.parametrize(("hard", "easy", "wanted"), [(9, 9, (3, 3)), (1, 9, (1, 5)),
                                                      (9, 2, (4, 2)), (2, 1, (2, 1)),
                                                      (0, 9, (0, 6))])  # fmt: skip
def test_half_of_the_anchors_are_hard_if_there_are_enough(hard, easy, wanted):
    marks = torch.cat((torch.full((hard + easy,), 1), torch.tensor([IGNORE, IGNORE])))
    guesses = torch.cat((torch.zeros(hard), torch.ones(easy), torch.tensor([1, 0])))
    rows, real = module.anchors_of(marks, guesses, 3, 6, seeded())
    assert real.any(1).tolist() == [False, True, False]
    found = rows[real].tolist()
    assert len(found) == len(set(found))
    assert (sum(row < hard for row in found), sum(row >= hard for row in found)) == wanted
    assert max(found, default=0) < hard + easy


def test_keys_are_the_means_of_a_class_in_each_slice():
    values = torch.randn(3, 4, 2, 2, generator=seeded(), dtype=torch.float64)
    marks = torch.tensor([[[0, 1], [1, 1]], [[0, 0], [0, 0]], [[1, 0], [0, IGNORE]]])
    found, real = module.means_of(values, marks, 3)
    assert real.tolist() == [[True] * 3, [True, False, True], [False] * 3]
    wanted = [
        (values[0, :, 0, 1] + values[0, :, 1, 0] + values[0, :, 1, 1]) / 3,
        values[2, :, 0, 0],
    ]
    means = torch.stack([mean / mean.norm() for mean in wanted])
    torch.testing.assert_close(found[1, real[1]], means)


def test_the_gate():
    shares = torch.softmax(3 * torch.randn(2, 4, 5, 5, generator=seeded()), 1)
    limit = 0.8 * math.log(4)
    found = module.gated(shares, limit)
    for b, y, x in torch.nonzero(torch.ones(2, 5, 5)).tolist():
        p = shares[b, :, y, x].tolist()
        certain = -sum(v * math.log(v + 1e-6) for v in p) < limit
        assert found[b, y, x] == (p.index(max(p)) if certain else IGNORE)
    assert 0 < (found == IGNORE).sum() < found.numel()


def test_a_gate_of_zero_leaves_no_unlabelled_anchor():
    labels = module.gated(torch.softmax(torch.randn(2, 3, 4, 4, generator=seeded()), 1), 0.0)
    assert (labels == IGNORE).all()
    _, real = module.anchors_of(labels.reshape(-1), torch.zeros(32), 3, 8, seeded())
    assert not real.any()


def test_the_whole_loss_before_the_contrast():
    step = handmade("ugpcl", progress=0.05, others=3)
    network, item = step.network, step.objective
    view, free = step.batch.labelled.views[0], step.batch.streams[0].views[0].image
    encoder = network.backbone.encoder
    seconds = [item.decoder(network.backbone.features(image, encoder), (32, 32))
               for image in (view.image, free)]  # fmt: skip
    supervised = SegmentationLoss()({"dec1": seconds[0]}, view.label)
    pair = [torch.softmax(logits, 1) for logits in (network.logits(free), seconds[1])]
    square = sum((a - b) ** 2 for a, b in zip(*(p.flatten().tolist() for p in pair), strict=True))
    ramp = 0.02 * math.exp(-5 * (1 - 0.05) ** 2)
    turns = torch.randint(4, (5,), generator=step.batch.generator("turns")).tolist()
    entropy = 0.0
    for image, turn in zip(torch.cat((view.image, free)), turns, strict=True):
        for _ in range(turn):
            image = image.transpose(1, 2).flip(1)  # noqa: PLW2901 - a quarter turn each
        deepest = network.backbone.features(image[None], ("centre",))["centre"].mean((2, 3))
        entropy -= torch.log_softmax(item.turns(deepest), 1)[0, turn] / 5
    wanted = 0.4 * supervised + ramp * square / pair[0].numel() + 0.2 * entropy
    assert step.take().loss.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_equal_decoders_agree():
    step = handmade("ugpcl", **(NOTHING | {"consistency": 1.0}))
    assert step.take().loss.item() > 0
    network = step.network
    step.objective.decoder.forward = lambda maps, size: network.decide(
        network.backbone.features(torch.zeros(2, 1, *size), ("dec1",), maps)
    )
    assert step.take().loss.item() == 0


def test_the_contrast_begins_after_its_pause_and_with_keys():
    options = NOTHING | {"contrast": 1.0}
    assert handmade("ugpcl", progress=0.05, **options).take(rounds=3).loss.item() == 0
    assert handmade("ugpcl", progress=0.5, **options).take().loss.item() == 0
    later = handmade("ugpcl", progress=0.5, **options).take(rounds=2).loss
    assert later.item() > 0


@pytest.mark.parametrize("blank", [False, True])
@pytest.mark.parametrize(("classes", "labelled", "others"), [(2, 2, 1), (8, 1, 2)])
def test_few_slices_and_any_number_of_classes(classes, labelled, others, blank):
    sizes = {"classes": classes, "labelled": labelled, "others": others}
    result = handmade("ugpcl", blank=blank, **sizes).take(rounds=2)
    assert torch.isfinite(result.loss)
    result.loss.backward()
