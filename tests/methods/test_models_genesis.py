"""Models Genesis: each transformation, and the loss, against their definitions."""

import dataclasses
import statistics
from collections import Counter

import numpy as np
import pytest
import torch

from contrabench.contracts import registry
from contrabench.protocol import PARTS

from .conftest import exactly, learn, pretrain_task

module = __import__(registry.methods.get("models_genesis").__module__, fromlist=["x"])
NOTHING = {"flip": 0, "shuffle": 0, "curve": 0, "paint": 0}


def make_task(cases, **options):
    method = module.ModelsGenesis(module.ModelsGenesisOptions(**options))
    return pretrain_task(method, cases, patients=2, orientations=("axial",))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def distorted(images, seed=0, **options):
    options = module.ModelsGenesisOptions(**NOTHING | options)
    return module.distorted(images, options, generator(seed))


def numbered(count, side, channels=1):
    """Images in which every pixel has a value of its own, and channels differ by a constant."""
    pixels = torch.arange(count * side * side, dtype=torch.float64).view(count, 1, side, side)
    return pixels + 1e5 * torch.arange(channels).view(1, -1, 1, 1)


def near(count, total, share):
    """Whether a count lies within six standard deviations of a binomial's mean."""
    return abs(count - total * share) < 6 * (total * share * (1 - share)) ** 0.5


def by_loop(image, windows, orders):
    """The authors' loop: each window of the original, permuted, is written over the result."""
    result = image.copy()
    for (top, left, high, wide), order in zip(windows, orders, strict=True):
        window = image[top : top + high, left : left + wide].flatten()
        result[top : top + high, left : left + wide] = window[order].reshape(high, wide)
    return result


def test_without_any_transformation_the_input_is_the_target():
    images = torch.randn(4, 2, 32, 32)
    assert torch.equal(distorted(images), images)
    assert torch.equal(module.mirrored(images, 0.0, generator()), images)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_distorted_keeps_the_range_and_is_the_same_again(seed):
    torch.manual_seed(seed)
    images = torch.randn(6, 2, 32, 32) * 3 + 1
    images[0] = 0.5
    found = distorted(images, seed, shuffle=0.5, curve=0.9, paint=0.9)
    lowest, highest = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    assert ((found >= lowest - 1e-5) & (found <= highest + 1e-5)).all()
    assert torch.equal(found[0], images[0])
    again = distorted(images, seed, shuffle=0.5, curve=0.9, paint=0.9)
    other = distorted(images, seed + 9, shuffle=0.5, curve=0.9, paint=0.9)
    assert torch.equal(found, again)
    assert not torch.equal(found, other)


def test_mirroring_is_repeated_up_to_three_times():
    images = torch.arange(4.0).view(1, 1, 2, 2).expand(6000, 1, 2, 2)
    found = module.mirrored(images, 0.4, generator())
    counts = Counter(tuple(row) for row in found.flatten(1).int().tolist())
    expected: Counter = Counter()
    for times, share in enumerate((0.6, 0.24, 0.096, 0.064)):
        for number in range(2**times):
            rows = [number >> place & 1 for place in range(times)]
            image = np.arange(4).reshape(2, 2)
            for axis in rows:
                image = np.flip(image, axis)
            expected[tuple(image.flatten().tolist())] += share / 2**times
    assert set(counts) == set(expected)
    assert sum(expected.values()) == pytest.approx(1)
    assert all(near(counts[key], 6000, share) for key, share in expected.items())


def test_windows_are_shuffled_as_by_the_loop(monkeypatch):
    taken = {}

    def noting(low, high, shape, drawn):
        value = between(low, high, shape, drawn)
        taken[len(taken)] = value
        return value

    between = module.between
    monkeypatch.setattr(module, "between", noting)
    images = numbered(2, 40, channels=2)
    found = module.shuffled(images, generator(5))
    high, wide, top, left = (taken[number].tolist() for number in range(4))
    torch_side = generator(5)
    for value in taken.values():
        torch.randint(2**62, value.shape, generator=torch_side)
    areas = [h * w for rows in zip(high, wide, strict=True) for h, w in zip(*rows, strict=True)]
    chance = torch.randint(2**24, (sum(areas),), generator=torch_side).numpy()
    orders = [np.argsort(part, kind="stable") for part in np.split(chance, np.cumsum(areas)[:-1])]
    for b in range(2):
        windows = list(zip(top[b], left[b], high[b], wide[b], strict=True))
        own = orders[b * len(windows) : (b + 1) * len(windows)]
        for c in range(2):
            expected = by_loop(images[b, c].numpy(), windows, own)
            assert np.array_equal(found[b, c].numpy(), expected)


def test_windows_have_the_sides_places_and_number_of_the_authors(monkeypatch):
    taken = []
    between = module.between
    monkeypatch.setattr(
        module, "between", lambda *given: taken.append(between(*given)) or taken[-1]
    )
    module.shuffled(torch.zeros(3, 1, 160, 160), generator())
    high, wide, top, left = (value.view(3, -1) for value in taken)
    for length, start in ((high, top), (wide, left)):
        assert sorted(set(length.flatten().tolist())) == list(range(1, 17))
        assert (start >= 0).all()
        assert (start + length <= 160).all()
        assert (start + length).max() == 160
    assert high.shape[1] == pytest.approx(660, abs=5)
    cover = (high * wide).sum() / (3 * 160 * 160)
    assert cover.item() == pytest.approx(10_000 * 3.5 * 3.5 * 2 / (64 * 64 * 32), rel=0.1)


def test_a_shuffled_pixel_comes_from_near():
    images = numbered(20, 20)
    found = module.shuffled(images, generator())
    source = (found - images.amin((2, 3), keepdim=True)).long()
    rows, columns = source // 20, source % 20
    assert ((rows - torch.arange(20)[:, None]).abs() < 2).all()
    assert ((columns - torch.arange(20)).abs() < 2).all()
    assert (found != images).double().mean() > 0.3


@pytest.mark.parametrize("falling", [False, True])
def test_curves_against_the_authors_way(falling):
    drawn = np.random.default_rng(0)
    values = np.sort(drawn.random((30, 200)), axis=1)
    control = drawn.random((30, 2, 2))
    t = np.linspace(0, 1, 100_000)
    weights = np.stack(((1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3))
    found = module.curved(
        torch.from_numpy(values), torch.from_numpy(control), torch.full((30,), falling)
    ).numpy()
    for b in range(30):
        points = np.concatenate((np.zeros((1, 2)), control[b], np.ones((1, 2))))
        x, y = points.T @ weights
        # Sorted, both or x alone, of a curve that runs from (1, 1) to (0, 0).
        x, y = np.sort(x[::-1]), y[::-1] if falling else np.sort(y[::-1])
        assert np.abs(found[b] - np.interp(values[b], x, y)).max() < 5e-3
        steps = np.diff(found[b])
        assert (steps <= 1e-9).all() if falling else (steps >= -1e-9).all()
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize("falling", [False, True])
def test_the_ends_of_a_curve(falling):
    ends = torch.tensor([[0.0, 1.0]])
    found = module.curved(ends, torch.rand(1, 2, 2), torch.tensor([falling]))
    assert found.tolist() == [[1.0, 0.0] if falling else [0.0, 1.0]]


def test_half_of_the_curves_fall_and_order_is_kept_or_reversed():
    line = torch.linspace(-2, 3, 1024).view(1, 1, 32, 32).expand(600, 1, 32, 32)
    found = distorted(line, curve=1.0).flatten(1)
    steps = found.diff(dim=1)
    rises, falls = (steps >= -1e-5).all(1), (steps <= 1e-5).all(1)
    assert (rises ^ falls).all()
    assert near(int(falls.sum()), 600, 0.5)


@pytest.mark.parametrize("size", [(32, 32), (160, 160), (64, 48)])
def test_boxes_that_are_painted_over(size):
    inner = torch.arange(400) % 2 == 0
    found = module.painted(400, size, inner, generator())
    height, width = size
    border = torch.ones(size, dtype=torch.bool)
    border[3:-3, 3:-3] = False
    assert not found[inner][:, border].any()
    assert found[~inner][:, border].all()
    empty = int((~found[inner].any((1, 2))).sum())
    assert near(empty, 200, 0.05)
    assert not (found[~inner].all((1, 2))).any()
    # The smallest and the largest painted-in region, of one box and of five apart.
    areas = found[inner].sum((1, 2)).double()
    least = (height // 6) * (width // 6)
    assert areas[areas > 0].min() >= least
    assert areas.max() <= 5 * (height // 3) * (width // 3)
    kept = (~found[~inner]).sum((1, 2)).double()
    assert kept.min() >= (height - 4 * height // 7) * (width - 4 * width // 7)


def test_noise_is_uniform_over_the_range_of_its_image():
    torch.manual_seed(0)
    images = torch.randn(300, 1, 32, 32) * 2 + 7
    found = distorted(images, paint=1.0, inner=0.0)
    low, high = module.tails(images)
    painted = found != images
    share = ((found - low) / (high - low))[painted]
    assert painted.double().mean() > 0.3
    assert share.min() >= -1e-5
    assert share.max() <= 1 + 1e-5
    assert share.mean().item() == pytest.approx(0.5, abs=0.005)
    assert share.var().item() == pytest.approx(1 / 12, rel=0.02)


def test_each_transformation_meets_its_share_of_the_images():
    torch.manual_seed(0)
    images = torch.randn(1200, 1, 32, 32)
    for options, share in (
        ({"shuffle": 0.5}, 0.5),
        ({"curve": 0.9}, 0.9),
        ({"paint": 0.9, "inner": 0.0}, 0.9),
        ({"paint": 0.9, "inner": 1.0}, 0.9 * 0.95),
    ):
        changed = (distorted(images, **options) != images).any(3).any(2).sum()
        assert near(int(changed), 1200, share)


def test_tails():
    torch.manual_seed(0)
    images = torch.randn(2, 3, 60, 60)
    low, high = module.tails(images)
    for b in range(2):
        for c in range(3):
            values = sorted(images[b, c].flatten().tolist())
            assert low[b, c].item() == values[3]
            assert high[b, c].item() == values[-4]
            grid = statistics.quantiles(values, n=1000)
            assert values[3] <= grid[1]
            assert values[-4] >= grid[-2]


def test_the_loss_is_the_error_on_all_pixels_of_the_mirrored_slice(cases):
    task = make_task(cases).double()
    batch = exactly(task.batch(0, 0, 1))
    options, image = task.objective.options, batch.views[0].image
    target = module.mirrored(image, options.flip, batch.generator("mirror"))
    given = module.distorted(target, options, batch.generator("distortion"))
    restored = task.objective.head(task.backbone.features(given, ("dec1",))["dec1"])
    total = 0.0
    for found, wanted in zip(restored.flatten(), target.flatten(), strict=True):
        total += (found.item() - wanted.item()) ** 2
    assert task(batch).loss.item() == pytest.approx(total / target.numel(), rel=1e-9)
    assert not torch.equal(target, image)


def test_without_transformations_the_slice_itself_is_given_and_wanted(cases, monkeypatch):
    task = make_task(cases, **NOTHING)
    batch = task.batch(0, 0, 1)
    seen = []
    monkeypatch.setattr(
        task.backbone,
        "features",
        lambda image, taps: seen.append(image) or {"dec1": image.expand(-1, 4, -1, -1)},
    )
    with torch.no_grad():
        task.objective.head.weight.fill_(0.25)
        task.objective.head.bias.zero_()
    assert task(batch).loss.item() == pytest.approx(0, abs=1e-12)
    assert torch.equal(seen[0], batch.views[0].image)


def test_a_step_is_distorted_as_its_seed_says(cases):
    task = make_task(cases)
    batch = task.batch(0, 0, 1)
    other = dataclasses.replace(batch, seed=batch.seed + 1)
    with torch.no_grad():
        assert task(batch).loss == task(batch).loss != task(other).loss


def test_it_sees_no_labels_and_hands_over_the_whole_network():
    method = module.ModelsGenesis()
    assert not method.label_dependent()
    assert method.transfers() == PARTS


def test_every_part_learns_to_restore(cases):
    first, *_, last = learn(make_task(cases), 20, 3e-3)
    assert last.loss < 0.9 * first.loss
