"""PLCT against its definition: pixels, means, pairs and their contrast."""

import math

import pytest
import torch
from tests.makers.joint import handmade, module_of

from contrabench import Predicted
from contrabench.contracts import registry
from contrabench.contracts.views import IGNORE

from .conftest import agree

cls = registry.methods.get("chaitanya_joint")
module = module_of("chaitanya_joint")
TAU = 0.3


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def scene(images=3, classes=4, dim=5, side=4, seed=0, absent=()):
    """Maps and labels; `absent` names (image, class) that the image does not show."""
    generator = seeded(seed)
    maps = torch.randn(images, dim, side, side, generator=generator, dtype=torch.float64)
    labels = torch.arange(side * side) % classes
    labels = torch.stack([labels[torch.randperm(side * side, generator=generator)]
                          for _ in range(images)]).view(images, side, side)  # fmt: skip
    labels[0, 0, 0] = IGNORE
    for image, value in absent:
        labels[image][labels[image] == value] = 0
    return maps.requires_grad_(), labels


def cosine(a, b):
    return (a * b).sum() / (a.norm() * b.norm())


def places(labels, image, value):
    return torch.nonzero(labels[image] == value).tolist()


def mean(maps, labels, image, value):
    found = places(labels, image, value)
    return sum(maps[image, :, y, x] for y, x in found) / len(found)


def literal(maps, labels, classes, pairs, count, generator):
    """Loops over pairs, structures, pixels and terms, as in the docstring."""
    chance = torch.rand(len(maps), classes - 1, count, generator=generator)
    total, kept = 0.0, 0
    for first, second in pairs.tolist():
        shown = [[c for c in range(1, classes) if places(labels, image, c)]
                 for image in (first, second)]  # fmt: skip
        shared = [c for c in shown[0] if c in shown[1]]
        if not shared:
            continue
        kept += 1
        means = [{c: mean(maps, labels, image, c) for c in some}
                 for image, some in zip((first, second), shown, strict=True)]  # fmt: skip
        for k in shared:
            for image in (first, second):
                found = places(labels, image, k)
                for drawn in chance[image, k - 1].tolist():
                    y, x = found[int(drawn * len(found))]
                    z = maps[image, :, y, x]
                    below = sum(
                        torch.exp(cosine(z, m) / TAU) for own in means for m in own.values()
                    )
                    for own in means:
                        term = -torch.log(torch.exp(cosine(z, own[k]) / TAU) / below)
                        total = total + term / (2 * count * len(shared))
    return total / max(kept, 1)


def loss(maps, labels, pairs, classes=4, count=3, seed=5):
    found = module.structures(maps, labels, classes, count, seeded(seed))
    return module.contrast_of_pairs(found, pairs, TAU)


@pytest.mark.parametrize("absent", [(), ((0, 1),), ((0, 1), (1, 1)), ((1, 1), (1, 2), (1, 3))])
def test_the_contrast_of_pairs(absent):
    maps, labels = scene(absent=absent)
    pairs = torch.tensor([[0, 1], [2, 2], [1, 2]])
    agree(loss(maps, labels, pairs), literal(maps, labels, 4, pairs, 3, seeded(5)), (maps,))


def test_each_pair_counts_alike_wherever_it_stands():
    maps, labels = scene(4)
    pairs = torch.tensor([[0, 1], [2, 3], [1, 2]])
    single = [loss(maps, labels, pair[None]).item() for pair in pairs]
    assert loss(maps, labels, pairs).item() == pytest.approx(sum(single) / 3, rel=1e-12)
    assert loss(maps, labels, pairs.flip(0)).item() == pytest.approx(sum(single) / 3, rel=1e-12)


def test_a_perfect_clustering_costs_the_logarithm_of_two_for_each_of_two_terms():
    _, labels = scene(2)
    maps = torch.nn.functional.one_hot(labels.where(labels != IGNORE, 0), 4).movedim(-1, 1).double()
    found = module.structures(maps, labels, 4, 3, seeded())
    value = module.contrast_of_pairs(found, torch.tensor([[0, 1]]), 0.02)
    assert value.item() / 2 == pytest.approx(math.log(2), abs=1e-9)


def test_pixels_are_drawn_of_their_structure_and_evenly():
    maps, labels = scene(1, dim=4)
    maps = torch.nn.functional.one_hot(labels.where(labels != IGNORE, 0), 4).movedim(-1, 1).double()
    found = module.structures(maps, labels, 4, 50, seeded())
    for c in range(1, 4):
        assert (found.pixels[0, c - 1].argmax(-1) == c).all()
    numbered = torch.arange(16.0).view(1, 1, 4, 4).double().expand(1, 2, 4, 4) + 1.0
    numbered = torch.cat((numbered[:, :1], torch.full((1, 1, 4, 4), 10.0).double()), 1)
    found = module.structures(numbered, labels, 4, 4000, seeded()).pixels[0, 0]
    drawn = (found[:, 0] / found[:, 1] * 10 - 1).round().long()
    counts = torch.bincount(drawn, minlength=16).view(4, 4)
    assert (counts[labels[0] != 1] == 0).all()
    wanted = 4000 / (labels[0] == 1).sum().item()
    assert (counts[labels[0] == 1] - wanted).abs().max() < 5 * math.sqrt(wanted)


def test_ten_pairs_of_five_and_five_are_those_of_the_paper_s_code():
    names = [f"{kind}{number}" for kind in ("L", "L'", "U", "U'") for number in range(5)]
    found = {(names[a], names[b]) for a, b in module.pairs_of(5).tolist()}
    assert found == {
        ("L0", "L'0"), ("L1", "U'1"), ("L2", "L'2"), ("L3", "U'3"), ("L4", "U'4"),
        ("U0", "U'0"), ("U0", "U'1"), ("U2", "U'2"), ("U2", "U'3"), ("U3", "U'4"),
    }  # fmt: skip


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_pairs_of_any_batch_meet_a_labelled_slice_and_hold_two_views(count):
    pairs = module.pairs_of(count)
    assert pairs.min() >= 0
    assert pairs.max() < 4 * count
    kinds = pairs // count
    assert set(kinds[:, 0].tolist()) <= {0, 2}
    assert set(kinds[:, 1].tolist()) <= {1, 3}
    assert ((kinds[:, 0] == 0) & (kinds[:, 1] == 3)).any()


def test_slices_without_structures_give_zero():
    maps, labels = scene()
    found = loss(maps, labels.where(labels == IGNORE, 0), torch.tensor([[0, 1], [1, 2]]))
    (gradient,) = torch.autograd.grad(found, maps)
    assert found.item() == 0
    assert not gradient.any()


def test_the_stages():
    first, *rounds = cls().joint_stages()
    assert (first.streams, len(rounds)) == ((), 3)
    assert len({stage.share for stage in (first, *rounds)}) == 1
    for stage in rounds:
        assert not stage.restarts
        assert [s.draws for s in stage.streams] == ["labelled", "unlabelled"]
        assert [s.masks for s in stage.streams] == ["labels", Predicted(largest=True)]


@pytest.mark.parametrize("blank", [False, True])
@pytest.mark.parametrize(("classes", "others"), [(2, 1), (8, 2), (3, 3)])
def test_few_slices_and_any_number_of_classes(classes, others, blank):
    step = handmade("chaitanya_joint", stage=1, classes=classes, others=others, blank=blank)
    result = step.take()
    assert torch.isfinite(result.loss)
    assert (result.loss.item() == 0) == blank
    result.loss.backward()
