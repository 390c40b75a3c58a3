"""The losses of Chaitanya et al. against loops over their definitions."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from contrabench.contracts import registry

from .conftest import agree, batch_normed, exactly, pretrain_task

module = __import__(registry.methods.get("global_local").__module__, fromlist=["x"])
TAU = 0.1


def pair(a, b, negatives):
    near = torch.exp(a @ b / TAU)
    return -torch.log(near / (near + sum(torch.exp(a @ n / TAU) for n in negatives)))


def embeddings(shape, versions, seed=0):
    generator = torch.Generator().manual_seed(seed)
    points = (torch.randn(*shape, generator=generator).double() for _ in range(versions))
    return [functional.normalize(item, dim=-1).requires_grad_() for item in points]


@pytest.mark.parametrize(("volumes", "parts"), [(2, 4), (3, 3), (1, 4)])
def test_same_slice_loss(volumes, parts):
    count = volumes * parts
    versions = embeddings((count, 6), 3)
    partition = torch.arange(parts).repeat(volumes)
    pool = [(v[i], int(partition[i])) for v in versions for i in range(count)]
    total = 0.0
    for first, second in ((0, 1), (0, 2), (1, 2)):
        for i in range(count):
            negatives = [z for z, part in pool if part != int(partition[i])]
            total += pair(versions[first][i], versions[second][i], negatives)
            total += pair(versions[second][i], versions[first][i], negatives)
    found = module.same_slice_loss(versions, partition, TAU)
    agree(found, total / (3 * count), versions)


@pytest.mark.parametrize(("volumes", "parts"), [(2, 4), (4, 4), (3, 2)])
def test_same_partition_loss(volumes, parts):
    """In the order of the authors' code: parts of volume i, the same augmented, then volume j."""
    count = volumes * parts
    plain, augmented = embeddings((count, 6), 2)
    blocks = zip(plain.split(parts), augmented.split(parts), strict=True)
    row = torch.cat([block for pair_of in blocks for block in pair_of])
    total = 0.0
    for place in range(len(row)):
        if place % (2 * parts) >= parts:
            continue
        i, i_, j, j_ = (row[(place + k * parts) % len(row)] for k in range(4))
        negatives = [row[n] for n in range(len(row)) if n % parts != place % parts]
        for a, b in ((i, i_), (i, j), (j, j_), (i_, j_)):
            total += pair(a, b, negatives) + pair(b, a, negatives)
    found = module.same_partition_loss(plain, augmented, torch.arange(count) % parts, parts, TAU)
    agree(found, total / len(row), (plain, augmented))


def test_region_loss():
    first, second = embeddings((2, 13, 5), 2)
    near = module.nearest_regions(module.region_centres(16))
    total = 0.0
    for b in range(2):
        for u in range(13):
            for own, other in ((first, second), (second, first)):
                negatives = [z[b, v] for v in near[u].tolist() for z in (own, other)]
                total += pair(own[b, u], other[b, u], negatives)
    agree(module.region_loss(first, second, near, TAU), total / (2 * 2 * 13), (first, second))


@pytest.mark.parametrize("options", [{"global_loss": kind} for kind in ("GR", "GD-", "GD")])
def test_all_versions_of_the_slices_are_normalised_as_one_batch(cases, options):
    cls = registry.methods.get("global_local")
    task = pretrain_task(cls(cls.Options(**options)), cases, net=batch_normed()).double()
    batch = exactly(task.batch(0, 0, 1))
    shown = []
    task.backbone.enc1.register_forward_hook(lambda _, inputs, __: shown.append(inputs[0]))
    task(batch)
    task.objective = cls().objective(cls().stages()[1], task.backbone).double()
    two = (batch.views[0], batch.views[-1])
    task.objective(task.backbone, replace(batch, views=two))
    for images, views in zip(shown, (batch.views, two), strict=True):
        assert torch.equal(images, torch.cat([view.image for view in views]))


@pytest.mark.parametrize("side", [8, 16, 40, 80])
def test_regions_lie_inside_the_map_and_apart(side):
    centres = module.region_centres(side)
    assert len({tuple(c) for c in centres.tolist()}) == 13
    assert int(centres.min()) >= 1
    assert int(centres.max()) <= side - 2


def test_near_regions_are_the_nearest_others():
    centres = module.region_centres(40).double()
    near = module.nearest_regions(centres)
    for u in range(13):
        distances = [float((centres[u] - centres[v]).norm()) for v in range(13)]
        others = sorted(d for v, d in enumerate(distances) if v != u)
        assert sorted(distances[v] for v in near[u].tolist()) == pytest.approx(others[:5])
        assert u not in near[u].tolist()
