"""The partition contrast that the tables of PCL print as GCL, against its definition."""

import pytest
import torch

from contrabench.contracts import registry

from .conftest import agree, exactly, pretrain_task

method_class = registry.methods.get("gcl")
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
    item = pretrain_task(method, cases, batch, patients=4, orientations=("axial",)).double()
    drawn = exactly(item.batch(0, 0, 1))
    first, second = (
        item.objective.head(item.backbone.pooled(view.image, ("centre",))["centre"])
        for view in drawn.views
    )
    numbers = (drawn.info.position * 6).round().int().tolist()
    wanted = literal(first, second, [part(n, 6, partitions) for n in numbers], 0.2)
    agree(item(drawn).loss, wanted, [p for p in item.parameters() if p.requires_grad])


def test_it_says_that_it_is_not_chaitanyas():
    info = method_class.info
    assert "not Chaitanya" in info.paper
    assert "PCL" in info.title
    assert set(method_class().transfers()) == {"enc1", "enc2", "enc3", "enc4", "centre"}
