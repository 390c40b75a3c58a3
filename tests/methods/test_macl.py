"""The three losses of MACL against their definitions, and what each branch sees."""

import pytest
import torch
from torch.nn import functional

from contrabench.contracts import registry
from contrabench.model.weights import build_backbone
from contrabench.protocol import ENCODER, BackboneSpec
from contrabench.views.maker import view_side

from .conftest import agree, batch_normed, pretrain_task

method_class = registry.methods.get("macl")
module = __import__(method_class.__module__, fromlist=["x"])
TRAINED = (*ENCODER, "centre_up", "dec4", "dec3")


def cosine(a, b):
    return (a * b).sum() / (a.norm() * b.norm())


def literal_pcl(first, second, related, tau):
    z, count = torch.cat((first, second)), len(first)
    total = 0
    for i in range(2 * count):
        positives = [j for j in range(2 * count) if j != i and related[i % count][j % count]]
        below = sum(torch.exp(cosine(z[i], z[a]) / tau) for a in range(2 * count) if a != i)
        logs = [torch.log(torch.exp(cosine(z[i], z[j]) / tau) / below) for j in positives]
        total = total - tau / 0.07 * sum(logs) / len(logs)
    return total / (2 * count)


def literal_pixels(auxiliary, dominant, related, tau):
    """Place by place: the contrast of the slices' pixels there."""
    height, width = auxiliary.shape[-2:]
    places = [(y, x) for y in range(height) for x in range(width)]
    losses = [
        literal_pcl(auxiliary[:, :, y, x], dominant[:, :, y, x], related, tau) for y, x in places
    ]
    return sum(losses) / len(losses)


def maps(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


RELATIONS = {
    "some near": [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]],
    "all far": [[1, 0], [0, 1]],
    "all near": [[1, 1, 1]] * 3,
}


@pytest.mark.parametrize("case", RELATIONS)
@pytest.mark.parametrize("side", [1, 3])
def test_pixel_contrast(case, side):
    related = RELATIONS[case]
    count = len(related)
    auxiliary, dominant = maps(count, 5, side, side), maps(count, 5, side, side, seed=1)
    found = module.pixel_contrast(auxiliary, dominant, torch.tensor(related).bool(), 0.1)
    agree(found, literal_pixels(auxiliary, dominant, related, 0.1), (auxiliary, dominant))


@pytest.mark.parametrize(("one", "other"), [(2, 6), (6, 2), (4, 8)])
def test_the_finer_map_is_averaged_to_the_coarser_grid(one, other):
    related = RELATIONS["some near"]
    auxiliary, dominant = maps(4, 3, one, one), maps(4, 3, other, other, seed=1)
    small = min(one, other)
    pooled = [
        functional.avg_pool2d(item, item.shape[-1] // small) for item in (auxiliary, dominant)
    ]
    found = module.pixel_contrast(auxiliary, dominant, torch.tensor(related).bool(), 0.2)
    agree(found, literal_pixels(*pooled, related, 0.2), (auxiliary, dominant))


def test_a_pixel_meets_only_its_own_place():
    """Shuffling the places of both maps alike changes nothing; of one map alone it does."""
    auxiliary, dominant = maps(4, 3, 2, 2), maps(4, 3, 2, 2, seed=1)
    related = torch.tensor(RELATIONS["some near"]).bool()
    before = module.pixel_contrast(auxiliary, dominant, related, 0.1)
    turned = [item.flip(2) for item in (auxiliary, dominant)]
    assert module.pixel_contrast(*turned, related, 0.1).item() == pytest.approx(before.item())
    after = module.pixel_contrast(turned[0], dominant, related, 0.1)
    assert after.item() != pytest.approx(before.item(), rel=1e-3)


@pytest.mark.parametrize(("whole", "shrunk"), [(8, 2), (2, 2), (6, 3)])
def test_equivariance(whole, shrunk):
    auxiliary, dominant = maps(2, 3, whole, whole), maps(2, 3, shrunk, shrunk, seed=1)
    step = whole // shrunk
    total = 0
    for b in range(2):
        for c in range(3):
            for y in range(shrunk):
                for x in range(shrunk):
                    block = auxiliary[b, c, y * step : (y + 1) * step, x * step : (x + 1) * step]
                    total = total + (block.mean() - dominant[b, c, y, x]).abs()
    wanted = total / dominant.numel()
    agree(module.equivariance(auxiliary, dominant), wanted, (auxiliary, dominant))


def task(cases, batch=4, **options):
    """On a network that normalises the batch, as the authors' does."""
    method = method_class(method_class.Options(**options))
    ways = ("axial",)
    return pretrain_task(method, cases, batch, patients=4, orientations=ways, net=batch_normed())


@pytest.mark.parametrize("batch", [2, 4])
def test_the_whole_loss(cases, batch):
    item = task(cases, batch, threshold=0.3)
    drawn = item.batch(0, 0, 1)
    net, heads = item.backbone, item.objective
    x1, x2, x3, x4 = (view.image for view in drawn.views)
    whole = [net.features(x, ("centre",))["centre"].double() for x in (x1, x3)]
    decoded = [net.features(x, ("centre", "dec3")) for x in (x2, x4)]
    numbers = (drawn.info.position * 6).round().int().tolist()
    related = [[abs(a - b) / 6 < 0.3 for a in numbers] for b in numbers]
    image = literal_pcl(
        heads.auxiliary_head(whole[1].float().mean((2, 3))),
        heads.dominant_head(decoded[1]["dec3"].mean((2, 3))),
        related,
        0.1,
    )
    projected = functional.adaptive_avg_pool2d(heads.pixel_projector(whole[0].float()), 2)
    fine = functional.adaptive_avg_pool2d(decoded[0]["dec3"], 2)
    pixel = literal_pixels(projected, fine, related, 0.1)
    equal = (whole[0] - decoded[0]["centre"].double()).abs().mean()
    found = item(drawn)
    terms = {"image": image, "pixel": pixel, "equivariance": equal}
    for name, wanted in terms.items():
        assert found.logs[name].item() == pytest.approx(wanted.item(), rel=1e-4), name
    wanted = image + 0.5 * pixel + equal
    assert found.loss.item() == pytest.approx(wanted.item(), rel=1e-4)


@pytest.mark.parametrize(
    ("options", "terms"),
    [
        ({"weight_pixel": 0}, {"image", "equivariance"}),
        ({"weight_equivariance": 0}, {"image", "pixel"}),
        ({"weight_pixel": 0, "weight_equivariance": 0}, {"image"}),
    ],
)
def test_a_weight_of_zero_leaves_a_term_out(cases, options, terms):
    item = task(cases, **options)
    result = item(item.batch(0, 0, 1))
    assert set(result.logs) == terms
    result.loss.backward()
    without = [n for n, p in item.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


def test_the_views_of_the_four_inputs():
    x1, x2, x3, x4 = method_class().stages()[0].views
    assert x1.spatial is x2.spatial is None
    assert x3.spatial == x4.spatial != None  # noqa: E711
    assert (x1.scale, x3.scale) == (1.0, 1.0)
    assert (x2.scale, x4.scale) == (0.25, 0.25)
    assert all(view.intensity is not None for view in (x1, x2, x3, x4))


@pytest.mark.parametrize(
    ("pixels", "auxiliary", "decoded"), [(32, 2, 8), (64, 4, 8), (128, 8, 8), (160, 10, 8)]
)
def test_sides_of_the_maps_at_the_budgets(pixels, auxiliary, decoded):
    """The common grid is the smaller of the two at every budget."""
    net = build_backbone(BackboneSpec(width=4), 0)
    small = view_side(pixels, 0.25)
    whole = net.features(torch.zeros(1, 1, pixels, pixels), ("centre",))["centre"]
    shrunk = net.features(torch.zeros(1, 1, small, small), ("centre", "dec3"))
    assert whole.shape[-1] == auxiliary
    assert shrunk["dec3"].shape[-1] == decoded
    assert shrunk["centre"].shape[-1] <= whole.shape[-1]


def test_a_shrunk_slice_never_has_a_smaller_map_than_two_cells_a_side():
    """A quarter of the slice in whole cells of 16 pixels, where that is more than two."""
    net = build_backbone(BackboneSpec(width=4), 0)
    for pixels in range(32, 321, 16):
        side = view_side(pixels, method_class().stages()[0].views[1].scale)
        cells = net.features(torch.zeros(1, 1, side, side), ("centre",))["centre"].shape[-1]
        assert cells == 2 if pixels <= 160 else abs(16 * cells - pixels / 4) <= 8


def test_only_what_is_trained_is_handed_on(cases):
    assert method_class().transfers() == TRAINED
    item = task(cases)
    item(item.batch(0, 0, 1)).loss.backward()
    moved = {
        name.split(".")[0] for name, p in item.backbone.named_parameters() if p.grad is not None
    }
    assert moved == set(TRAINED)


def test_whole_slices_never_reach_the_decoder(cases):
    item = task(cases)
    drawn = item.batch(0, 0, 1)
    seen = []
    item.backbone.centre_up.register_forward_hook(
        lambda _, inputs, __: seen.append(inputs[0].shape)
    )
    encoded = []
    item.backbone.centre.register_forward_hook(
        lambda _, inputs, __: encoded.append(inputs[0].shape)
    )
    item(drawn)
    assert [tuple(shape[-2:]) for shape in encoded] == [(2, 2)] * 4
    assert [tuple(shape[-2:]) for shape in seen] == [(2, 2)] * 2
    assert {shape[0] for shape in encoded + seen} == {4}
