"""DenseCL against a loop over its definition, and its memories and key encoder."""

import pytest
import torch

from contrabench.contracts import registry

from .conftest import agree, batch_normed, pretrain_task

DenseCL = registry.methods.get("densecl")
module = __import__(DenseCL.__module__, fromlist=["x"])


def cosine(a, b):
    return (a * b).sum() / (a.norm() * b.norm())


def cells(maps, image):
    """The cells of one image of (B, D, h, w), row by row."""
    return [maps[image, :, y, x] for y in range(maps.shape[2]) for x in range(maps.shape[3])]


def literal_match(query, key):
    places = []
    for b in range(len(query)):
        others = cells(key, b)
        places.append(
            [
                max(range(len(others)), key=lambda j, f=f, o=others: float(cosine(f, o[j])))
                for f in cells(query, b)
            ]
        )
    return places


def literal_loss(query, key, match, memory, tau):
    terms = []
    for b in range(len(query)):
        others = cells(key, b)
        for i, cell in enumerate(cells(query, b)):
            near = torch.exp(cosine(cell, others[match[b][i]]) / tau)
            far = sum(torch.exp(cosine(cell, m) / tau) for m in memory)
            terms.append(-torch.log(near / (near + far)))
    return sum(terms) / len(terms)


def maps(batch, dim, height, width, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, dim, height, width, generator=generator, dtype=torch.float64)


SHAPES = [(2, 2, 2, 2, 2), (3, 2, 3, 3, 2), (1, 4, 4, 4, 4), (2, 1, 1, 2, 2)]


@pytest.mark.parametrize("shape", SHAPES)
def test_cells_are_matched_by_the_features_of_the_backbone(shape):
    batch, height, width, other_height, other_width = shape
    query, key = maps(batch, 5, height, width, 0), maps(batch, 5, other_height, other_width, 1)
    assert module.most_alike(query, key).tolist() == literal_match(query, key)


def test_a_turned_map_is_matched_to_where_its_cells_have_gone():
    query = maps(1, 6, 3, 3, 0)
    match = module.most_alike(query, query.rot90(dims=(2, 3)))
    # The turned map shows at each of its places the cell of this number.
    shown = torch.arange(9).reshape(3, 3).rot90().flatten()
    assert torch.equal(shown[match[0]], torch.arange(9))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tau", [0.2, 1.0])
def test_the_dense_loss_and_its_gradient(shape, tau):
    batch, height, width, other_height, other_width = shape
    query = maps(batch, 4, height, width, 2).requires_grad_()
    key = maps(batch, 4, other_height, other_width, 3)
    memory = maps(7, 4, 1, 1, 4).flatten(1)
    torch.manual_seed(0)
    match = torch.randint(0, other_height * other_width, (batch, height * width))
    expected = literal_loss(query, key, match.tolist(), memory, tau)
    found = module.dense_contrast(query, key, match, memory, tau)
    agree(found, expected, query)


@pytest.fixture
def task(cases):
    """On a network that normalises the batch, as the paper's does."""
    method = DenseCL(DenseCL.Options(queue=20, momentum=0.9))
    return pretrain_task(method, cases, net=batch_normed())


def test_the_loss_is_the_weighted_sum_of_both(task):
    result = task(task.batch(0, 0, 1))
    logs = result.logs
    assert result.loss.item() == pytest.approx(0.5 * float(logs["global"] + logs["dense"]))


def test_the_first_loss_by_hand(task):
    batch, objective = task.batch(0, 0, 1), task.objective
    with torch.no_grad():
        seen, other = (
            task.backbone.features(view.image, ("centre",))["centre"] for view in batch.views
        )
        heads = objective.heads
        whole = [heads["whole"].layers(m.mean(dim=(2, 3))).double() for m in (seen, other)]
        dense = [heads["cells"](m).double() for m in (seen, other)]
        memories = [queue.memory.double() for queue in (objective.wholes, objective.cells)]
    match = literal_match(seen, other)
    expected = [
        literal_loss(
            whole[0][:, :, None, None], whole[1][:, :, None, None], [[0]] * 8, memories[0], 0.2
        ),
        literal_loss(dense[0], dense[1], match, memories[1], 0.2),
    ]
    logs = task(batch).logs
    assert float(logs["global"]) == pytest.approx(float(expected[0]), rel=1e-4)
    assert float(logs["dense"]) == pytest.approx(float(expected[1]), rel=1e-4)


def test_both_heads_are_the_papers_two_layers_as_wide_as_the_map(task):
    heads = task.objective.heads
    shapes = {
        name: [tuple(value.flatten(1).shape) for value in head.parameters() if value.ndim > 1]
        for name, head in heads.items()
    }
    assert shapes == {name: [(64, 64), (128, 64)] for name in ("whole", "cells")}
    kinds = {type(layer) for head in heads.values() for layer in head.layers}
    assert kinds == {torch.nn.Linear, torch.nn.Conv2d, torch.nn.ReLU}
    # On a map that is the same everywhere, each cell is what a head with these weights pools.
    maps = torch.randn(3, 64, 1, 1).expand(3, 64, 2, 2)
    first, second = (p for p in heads["cells"].parameters() if p.ndim > 1)
    one, other = (p for p in heads["cells"].parameters() if p.ndim == 1)
    hidden = (maps[:, :, 0, 0] @ first[:, :, 0, 0].T + one).clamp(min=0)
    expected = hidden @ second[:, :, 0, 0].T + other
    torch.testing.assert_close(heads["cells"](maps)[:, :, 1, 0], expected)


def test_keys_enter_their_queues_after_the_step_as_unit_vectors(task):
    objective = task.objective
    before = [queue.memory.clone() for queue in (objective.wholes, objective.cells)]
    batch = task.batch(0, 0, 1)
    task(batch)
    assert torch.equal(objective.wholes.memory, before[0])
    with torch.no_grad():
        other = objective.key_backbone.copied.features(batch.views[1].image, ("centre",))
        embedded = objective.key_heads.copied["cells"](other["centre"])
    task.after_step(0.1)
    for queue, old in zip((objective.wholes, objective.cells), before, strict=True):
        assert int(queue.place) == 8
        assert torch.equal(queue.memory[8:], old[8:])
        torch.testing.assert_close(queue.memory.norm(dim=1), torch.ones(20))
    pooled = embedded.flatten(2).mean(dim=2)
    torch.testing.assert_close(
        objective.cells.memory[:8], pooled / pooled.norm(dim=1, keepdim=True)
    )


def test_the_key_encoder_follows_and_gets_no_gradient(task):
    objective = task.objective
    assert not [name for name, _ in objective.named_parameters() if "key" in name]
    start = objective.heads["whole"].layers[0].weight.detach().clone()
    task(task.batch(0, 0, 1)).loss.backward()
    with torch.no_grad():
        for parameter in task.parameters():
            parameter.add_(1.0)
    task.after_step(0.1)
    copy = objective.key_heads.copied["whole"].layers[0].weight
    torch.testing.assert_close(copy, start + 0.1)
    torch.testing.assert_close(
        objective.key_backbone.copied.enc1.conv1.weight,
        task.backbone.enc1.conv1.weight.detach() - 0.9,
    )


def test_its_state_is_saved(task):
    names = set(task.state_dict())
    assert {
        "objective.wholes.memory",
        "objective.cells.memory",
        "objective.cells.seen.saved",
    } <= names
    assert any(name.startswith("objective.key_backbone") for name in names)
