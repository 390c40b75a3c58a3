"""The partition contrast that the tables of PCL print as GCL, against its definition."""

import pytest
import torch

from contrabench import catalogue
from contrabench.data.bank import build_bank
from contrabench.model.unet import build_unet
from contrabench.protocol import Backbone, Phase, Seeds
from contrabench.training.tasks import PretrainTask

method_class = catalogue.methods.get("gcl")
module = __import__(method_class.__module__, fromlist=["x"])


def cosine(a, b):
    return (a * b).sum() / (a.norm() * b.norm())


def part(number, depth, partitions):
    """Part of slice `number` of `depth`, in whole numbers."""
    return -(-number * partitions // depth)


def literal(first, second, labels, tau):
    z, marks = torch.cat((first, second)), labels * 2
    total = 0
    for i in range(len(z)):
        positives = [j for j in range(len(z)) if j != i and marks[j] == marks[i]]
        below = sum(torch.exp(cosine(z[i], z[a]) / tau) for a in range(len(z)) if a != i)
        logs = [torch.log(torch.exp(cosine(z[i], z[j]) / tau) / below) for j in positives]
        total = total - tau / 0.07 * sum(logs) / len(logs)
    return total / len(z)


@pytest.mark.parametrize("partitions", [2, 3, 4, 5, 7, 10])
def test_parts_are_exact_at_their_borders(partitions):
    for depth in range(1, 120):
        numbers = torch.arange(1, depth + 1)
        found = module.parts(numbers / depth, partitions).int().tolist()
        assert found == [part(n, depth, partitions) for n in numbers.tolist()]


@pytest.mark.parametrize("batch", [2, 8])
@pytest.mark.parametrize("partitions", [2, 4])
def test_the_objective(cases, batch, partitions):
    method = method_class(method_class.Options(partitions=partitions, temperature=0.2))
    pool = [f"patient_{i:02d}" for i in range(4)]
    bank = build_bank(cases, pool, None, ("axial",), torch.device("cpu"))
    net = build_unet(Backbone(width=4), 0)
    torch.manual_seed(0)
    (stage,) = method.stages()
    phase = Phase(images=64, batch=batch, lr=1e-3)
    item = PretrainTask(net, method.objective(stage, net), stage, bank, phase, Seeds()).double()
    drawn = item.batch(0, 0, 1)
    images = [view.image.double() for view in drawn.views]
    maps = [net.features(image, ("centre",))["centre"] for image in images]
    first, second = (item.objective.head(found) for found in maps)
    numbers = (drawn.info.position * 6).round().int().tolist()
    wanted = literal(first, second, [part(n, 6, partitions) for n in numbers], 0.2)
    for view, image in zip(drawn.views, images, strict=True):
        object.__setattr__(view, "image", image)
    found = item(drawn).loss
    assert found.item() == pytest.approx(wanted.item(), rel=1e-6)
    weights = [p for p in item.parameters() if p.requires_grad]
    gradients = (torch.autograd.grad(loss, weights) for loss in (found, wanted))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


def test_it_says_that_it_is_not_chaitanyas():
    info = method_class.info
    assert "not Chaitanya" in info.paper
    assert "PCL" in info.title
    assert set(method_class().transfers()) == {"enc1", "enc2", "enc3", "enc4", "centre"}
