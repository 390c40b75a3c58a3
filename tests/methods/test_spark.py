"""SparK: what the encoder sees, what is filled in, and the loss, against their definitions."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional

from contrabench import RequestError, RunError
from contrabench.contracts import registry
from contrabench.model.weights import build_backbone
from contrabench.protocol import ENCODER, BackboneSpec

from .conftest import exactly, learn, pretrain_task

module = __import__(registry.methods.get("spark").__module__, fromlist=["x"])


def make_task(cases, **options):
    method = module.SparK(module.SparKOptions(**options))
    return pretrain_task(method, cases, patients=2, orientations=("axial",))


NORMS = {
    "batch": nn.BatchNorm2d,
    "instance": lambda width: nn.InstanceNorm2d(width, affine=True),
    "group": lambda width: nn.GroupNorm(2, width),
}


def network(norm, channels=1):
    """The backbone with normalisation of one kind in all places, in float64."""
    net = build_backbone(BackboneSpec(width=4, in_channels=channels), 0)
    for parent in list(net.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.InstanceNorm2d | nn.BatchNorm2d):
                setattr(parent, name, NORMS[norm](child.num_features))
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return net.double()


def literal_norm(kind, layer, maps, visible):
    """A normalisation of visible positions, map by map, and zero elsewhere."""
    seen, found = large(visible, maps.shape[2:])[:, 0], torch.zeros_like(maps)
    width = maps.shape[1] // 2
    for b in range(len(maps)):
        for c in range(maps.shape[1]):
            pool = {
                "batch": [maps[i, c][seen[i]] for i in range(len(maps))],
                "instance": [maps[b, c][seen[b]]],
                "group": [maps[b, i + c // width * width][seen[b]] for i in range(width)],
            }[kind]
            values = torch.cat(pool)
            scaled = (maps[b, c] - values.mean()) / (values.var(correction=0) + 1e-5).sqrt()
            found[b, c] = (scaled * layer.weight[c] + layer.bias[c]) * seen[b]
    return found


def images_and_cells(channels=1, share=0.6):
    torch.manual_seed(2)
    image = torch.randn(3, channels, 64, 64, dtype=torch.float64)
    return image, module.draw_visible(3, (4, 4), share, torch.Generator().manual_seed(3))


def features(net, image, taps, visible):
    return module.sparse_features(net, image, taps, visible, int(visible[0].sum()))


def large(visible, size):
    """Cells at the size of a map, by its nearest neighbour."""
    return functional.interpolate(visible.float(), size).bool()


TAPS = ("enc1", "pool1", "enc2", "enc3", "pool3", "enc4", "centre")


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("channels", [1, 2])
def test_with_nothing_hidden_the_encoder_is_the_dense_one(norm, channels):
    net, dense = network(norm, channels), network(norm, channels)
    image, visible = images_and_cells(channels)
    found = features(net, image, TAPS, torch.ones_like(visible))
    expected = dense.features(image, TAPS)
    for tap in TAPS:
        torch.testing.assert_close(found[tap], expected[tap], rtol=1e-8, atol=1e-8)
    for a, b in zip(net.buffers(), dense.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("norm", NORMS)
def test_what_is_hidden_is_zero_after_every_layer_and_changes_nothing(norm):
    net = network(norm)
    image, visible = images_and_cells()
    seen = []
    layers = [m for part in ENCODER for m in net.part(part).modules() if not list(m.children())]
    handles = [
        layer.register_forward_hook(lambda layer, given, out: seen.append(out.detach().clone()))
        for layer in (*layers, net.pool)
    ]
    first = features(net, image, TAPS, visible)
    for handle in handles:
        handle.remove()
    assert len(seen) == 5 * 2 * 2 + 4
    for values in (*seen, *first.values()):
        hidden = ~large(visible, values.shape[2:])
        assert not values.masked_select(hidden).any()
        assert values.masked_select(~hidden).any()
    changed = torch.where(large(visible, (64, 64)), image, 100 * torch.randn_like(image))
    second = features(net, changed, TAPS, visible)
    assert all(torch.equal(first[tap], second[tap]) for tap in TAPS)
    turned = features(net, image, TAPS, visible.flip(0))
    assert not torch.equal(first["centre"], turned["centre"])


def test_after_a_pass_the_network_is_dense_again():
    net, dense = network("instance"), network("instance")
    image, visible = images_and_cells()
    features(net, image, TAPS, visible)
    assert torch.equal(net.features(image, TAPS)["centre"], dense.features(image, TAPS)["centre"])
    with pytest.raises(RequestError, match="no tap"):
        features(net, image, ("none",), visible)
    assert torch.equal(net.features(image, TAPS)["centre"], dense.features(image, TAPS)["centre"])


def test_cells_that_do_not_divide_a_map_are_refused():
    net = network("instance")
    image, visible = images_and_cells()
    for cells in (visible[..., :3], visible.repeat_interleave(2, dim=2)):
        with pytest.raises(RunError, match="cannot be masked"):
            features(net, image, TAPS, cells)


def test_a_compiled_network_is_masked_too_and_not_compiled_anew():
    net, compiled = network("instance"), []
    image, visible = images_and_cells()
    expected = features(net, image, ("enc1",), visible)["enc1"]
    net.compile(backend=lambda graph, inputs: compiled.append(graph) or graph.forward)
    found = features(net, image, ("enc1",), visible)["enc1"]
    assert torch.equal(found, expected)
    assert not compiled
    net.features(image, ("enc1",))
    assert compiled


@pytest.mark.parametrize("kind", NORMS)
def test_normalisation_counts_visible_positions_alone(kind):
    layer = NORMS[kind](4).double()
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(torch.randn_like(weight))
    maps = torch.randn(3, 4, 8, 8, dtype=torch.float64) * 2 + 3
    visible = module.draw_visible(3, (4, 4), 0.75, torch.Generator().manual_seed(0))
    expected = literal_norm(kind, layer, maps, visible)
    found = module.normalise_visible(layer, visible, int(visible[0].sum()), maps)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)
    if kind == "batch":
        table = maps.movedim(1, 3)[large(visible, (8, 8))[:, 0]]
        torch.testing.assert_close(layer.running_mean, 0.1 * table.mean(0))


@pytest.mark.parametrize("kind", NORMS)
def test_the_maps_are_those_of_a_masked_encoder_written_out(kind):
    net = network(kind)
    image, visible = images_and_cells()
    x, expected = image * large(visible, (64, 64)), {}
    for name in ENCODER:
        block = net.part(name)
        for step in "12":
            conv = next(m for m in getattr(block, f"conv{step}").modules() if hasattr(m, "weight"))
            x = functional.conv2d(x, conv.weight, padding=1)
            x = literal_norm(kind, getattr(block, f"norm{step}"), x, visible)
            x = functional.leaky_relu(x, 0.01)
        expected[name] = x
        x = functional.max_pool2d(x, 2)
    found = features(net, image, ENCODER, visible)
    for name in ENCODER:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-8, atol=1e-8)


def test_the_cells_that_are_seen():
    draw = module.draw_visible(400, (5, 5), 0.6, torch.Generator().manual_seed(0))
    assert (draw.sum((1, 2, 3)) == 10).all()
    # Six standard deviations of a binomial count.
    assert ((draw.sum(0) - 160).abs() < 6 * (400 * 0.4 * 0.6) ** 0.5).all()
    assert len({tuple(row) for row in draw.flatten(1).tolist()}) > 390
    again = module.draw_visible(400, (5, 5), 0.6, torch.Generator().manual_seed(0))
    assert torch.equal(draw, again)


@pytest.mark.parametrize(("grid", "share"), [((2, 2), 0.8), ((2, 2), 0.1), ((2, 2), 0.99)])
def test_all_or_nothing_seen_is_refused(grid, share):
    with pytest.raises(RunError, match="share"):
        module.draw_visible(2, grid, share, torch.Generator())


def literal_loss(task, image, visible):
    """The decoder and the loss, cell by cell; the maps are those of the sparse encoder."""
    own = task.objective
    maps = features(task.backbone, image, own.taps, visible)
    x = 0
    taps = ("centre", "enc4", "enc3", "enc2")
    for tap, densify, rise in zip(taps, own.densify, own.rise, strict=True):
        seen = large(visible, maps[tap].shape[2:])
        table = maps[tap].movedim(1, 3)[seen[:, 0]]
        normal = functional.batch_norm(
            table, None, None, densify.norm.weight, densify.norm.bias, training=True
        )
        filled = densify.token.expand_as(maps[tap]).clone().movedim(1, 3)
        filled[seen[:, 0]] = normal
        x = rise(x + densify.project(filled.movedim(3, 1)))
    predicted, terms = own.head(x), []
    for b, _, row, column in (~visible).nonzero().tolist():
        where = (
            b,
            slice(None),
            slice(16 * row, 16 * row + 16),
            slice(16 * column, 16 * column + 16),
        )
        cell = image[where]
        target = (cell - cell.mean()) / (cell.var() + 1e-6).sqrt()
        terms.append((predicted[where] - target).square().mean())
    return torch.stack(terms).mean()


def test_the_loss_and_its_gradients_are_those_of_its_definition(cases):
    task = make_task(cases).double()
    batch = exactly(task.batch(0, 0, 1))
    image = batch.views[0].image
    visible = module.draw_visible(8, (2, 2), 0.6, batch.generator("visible cells"))
    found, expected = task(batch).loss, literal_loss(task, image, visible)
    assert found.item() == pytest.approx(expected.item(), rel=1e-8)
    leaves = [p for p in task.parameters() if p.requires_grad]
    ours, theirs = (torch.autograd.grad(loss, leaves) for loss in (found, expected))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-10)


def test_a_perfect_reconstruction_costs_nothing(cases, monkeypatch):
    task = make_task(cases)
    batch = task.batch(0, 0, 1)
    image = batch.views[0].image
    perfect = module.normalised_blocks(image, (2, 2))
    monkeypatch.setattr(module.SparseModelling, "decode", lambda *given: perfect)
    assert task(batch).loss == 0
    visible = module.draw_visible(8, (2, 2), 0.6, batch.generator("visible cells"))
    wrong = perfect + large(visible, image.shape[2:])
    monkeypatch.setattr(module.SparseModelling, "decode", lambda *given: wrong)
    assert task(batch).loss == 0


def test_other_cells_are_hidden_in_every_step_and_the_same_again(cases):
    task = make_task(cases)
    batch = task.batch(0, 0, 1)
    other = dataclasses.replace(batch, seed=batch.seed + 1)
    with torch.no_grad():
        assert task(batch).loss == task(batch).loss != task(other).loss


def test_cells_of_noise_are_told_from_those_with_texture():
    torch.manual_seed(0)
    image = torch.randn(1, 1, 8, 8)
    image[..., :4, :4] = -1 + 1e-3 * torch.randn(4, 4)
    assert module.has_texture(image, (2, 2)).tolist() == [[[[False, True], [True, True]]]]


def test_it_sees_no_labels_and_hands_over_the_encoder():
    method = module.SparK()
    assert not method.label_dependent()
    assert method.transfers() == ENCODER


@pytest.mark.parametrize("options", [{}, {"share": 0.5, "decoder": 16}])
def test_everything_learns_to_fill_in(options, cases):
    first, *_, last = learn(make_task(cases, **options), 20, 3e-3)
    assert last.loss < 0.95 * first.loss
    assert torch.isfinite(last.logs["textured"])
