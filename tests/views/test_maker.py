"""`make_views`: reproducible, drawn per image, fresh memory, labels that follow."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from contrabench.contracts.geometry import Geometry, correspond
from contrabench.contracts.views import Intensity, Occlusion, Spatial, ViewSpec
from contrabench.errors import RequestError
from contrabench.views.maker import make_views, view_side

PAIR = (ViewSpec(), ViewSpec())
PLAIN = ViewSpec(spatial=None, intensity=None)
STILL = {"crop_area": (1, 1), "rotation_deg": 0, "elastic_sd": 0}
SWITCHES = {
    "crop": {"crop_area": (0.4, 0.6)},
    "rotation": {"rotation_deg": 15},
    "flip": {"flip": True},
    "elastic": {"elastic_sd": 0.02},
}


def labels_of(batch, side, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 5, (batch, side, side), dtype=torch.uint8, generator=generator)


def fingerprint(views):
    state = hashlib.sha256()
    for view in views:
        parts = (view.image, view.geometry.grid(), view.masks, view.geometry.displacement)
        for tensor in parts:
            state.update(tensor.contiguous().numpy().tobytes())
    return state.hexdigest()


def share_memory(tensors):
    tensors = list(tensors)
    return len({t.untyped_storage().data_ptr() for t in tensors}) < len(tensors)


def example_fingerprint():
    images = torch.linspace(-2, 3, 4 * 96 * 96).view(4, 1, 96, 96).sin()
    masks = (torch.arange(4 * 96 * 96) % 7).view(4, 96, 96).to(torch.uint8)
    return fingerprint(make_views(images, masks, PAIR, 11))


def test_a_seed_gives_the_same_bits_again_and_another_seed_others(smooth_images):
    images, masks = smooth_images(4, 32, 32), labels_of(4, 32)
    prints = [fingerprint(make_views(images, masks, PAIR, seed)) for seed in (5, 5, 6)]
    assert prints[0] == prints[1] != prints[2]


def test_a_process_with_more_threads_makes_the_same_bits():
    code = (
        "import sys, torch; torch.set_num_threads(2); torch.manual_seed(99);"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r});"
        "from test_maker import example_fingerprint; print(example_fingerprint())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == example_fingerprint()


def test_the_global_random_state_is_neither_read_nor_changed(smooth_images):
    images = smooth_images(2, 32, 32)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = make_views(images, None, PAIR, 3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second = make_views(images, None, PAIR, 3)
    assert all(torch.equal(a.image, b.image) for a, b in zip(first, second, strict=True))


def test_each_image_is_given_its_own_parameters(smooth_images):
    images = smooth_images(1, 32, 32).repeat(8, 1, 1, 1)
    for view in make_views(images, None, PAIR, 0):
        flat = view.image.flatten(1)
        assert (torch.cdist(flat, flat) + 99 * torch.eye(8)).min() > 1


def test_parameters_belong_to_the_place_in_the_batch(smooth_images):
    images = smooth_images(6, 32, 32)
    spec = ViewSpec(intensity=Intensity(noise_sd=0))
    (view,) = make_views(images, None, [spec], 0)
    # Another image in place 2 changes that place alone.
    changed = images.clone()
    changed[2] = images[5]
    (other,) = make_views(changed, None, [spec], 0)
    same = [torch.equal(a, b) for a, b in zip(view.image, other.image, strict=True)]
    assert same == [True, True, False, True, True, True]
    order = [3, 0, 5, 1, 4, 2]
    (permuted,) = make_views(images[order], None, [spec], 0)
    assert torch.equal(permuted.geometry.affine, view.geometry.affine)
    assert not torch.allclose(permuted.image, view.image[order], atol=0.1)
    # A smaller batch gives the same views of the images it holds.
    (fewer,) = make_views(images[:4], None, [spec], 0)
    assert torch.allclose(fewer.image, view.image[:4], atol=1e-5)


def test_the_views_of_a_batch_differ(smooth_images):
    images = smooth_images(6, 32, 32)
    views = make_views(images, None, PAIR, 0)
    unit = images.std((1, 2, 3))
    for first, second in ((views[0].image, views[1].image), (views[0].image, images)):
        assert ((first - second).abs().mean((1, 2, 3)) / unit).min() > 0.05


@pytest.mark.parametrize("switch", SWITCHES)
def test_each_spatial_switch_alone_changes_the_image(switch, smooth_images):
    images = smooth_images(16, 32, 32)
    unit = images.std((1, 2, 3))
    still = ViewSpec(spatial=Spatial(**STILL), intensity=None)
    (view,) = make_views(images, None, [still], 0)
    assert torch.allclose(view.image, images, atol=1e-5)
    moving = ViewSpec(spatial=Spatial(**{**STILL, **SWITCHES[switch]}), intensity=None)
    (view,) = make_views(images, None, [moving], 0)
    change = (view.image - images).abs().mean((1, 2, 3)) / unit
    assert change.mean() > 0.02
    assert (change > 0.005).float().mean() >= (0.3 if switch == "flip" else 0.9)


@pytest.mark.parametrize(
    "specs",
    [
        PAIR,
        (PLAIN, PLAIN),
        (ViewSpec(spatial=None), ViewSpec(spatial=None)),
        (ViewSpec(intensity=None), ViewSpec(intensity=None, geometry_of=0)),
        (ViewSpec(), ViewSpec(geometry_of=0), PLAIN),
        (PLAIN, ViewSpec(intensity=None, geometry_of=0), ViewSpec(scale=0.5, geometry_of=0)),
    ],
)
def test_views_share_memory_with_nothing(specs, smooth_images):
    images, masks = smooth_images(2, 64, 64), labels_of(2, 64)
    bank, labels = images.clone(), masks.clone()
    views = make_views(images, masks, specs, 0)
    tensors = [images, masks, *(t for view in views for t in (view.image, view.masks))]
    assert not share_memory(tensors)
    kept = [view.image.clone() for view in views]
    for index, view in enumerate(views):
        view.image.fill_(float("nan"))
        view.masks.fill_(-1)
        for later in range(index + 1, len(views)):
            assert torch.equal(views[later].image, kept[later])
    assert torch.equal(images, bank)
    assert torch.equal(masks, labels)


def test_shared_memory_would_be_noticed():
    images = torch.zeros(2, 1, 8, 8)
    assert share_memory([images, images.view(2, 64)])
    assert share_memory([images, images[:, :, ::2]])
    assert not share_memory([images, images.clone()])


def test_without_geometry_and_intensity_a_view_is_a_copy(smooth_images):
    images, masks = smooth_images(2, 32, 32), labels_of(2, 32)
    (view,) = make_views(images, masks, [PLAIN], 0)
    assert torch.equal(view.image, images)
    assert view.masks.dtype == torch.long
    assert torch.equal(view.masks, masks.long())
    assert torch.equal(view.geometry.grid(), Geometry.identity(2, (32, 32)).grid())


def test_a_shared_geometry_is_the_same_with_another_appearance(smooth_images):
    images, masks = smooth_images(4, 64, 64), labels_of(4, 64)
    specs = (ViewSpec(), ViewSpec(geometry_of=0), ViewSpec(geometry_of=0, scale=0.5))
    first, second, small = make_views(images, masks, specs, 0)
    assert second.geometry is first.geometry
    assert torch.equal(first.masks, second.masks)
    assert not torch.allclose(first.image, second.image, atol=0.01)
    assert small.image.shape == (4, 1, 32, 32)
    assert torch.equal(small.geometry.affine, first.geometry.affine)
    u, valid = correspond(small.geometry, first.geometry)
    assert torch.allclose(u[valid], Geometry.identity(4, (32, 32)).grid()[valid], atol=1e-5)


def test_a_view_carries_nothing_of_the_appearance_of_the_one_it_shares_geometry_with(
    smooth_images,
):
    images = smooth_images(3, 32, 32)
    bare = ViewSpec(intensity=None)
    (expected,) = make_views(images, None, [bare], 0)
    _, view = make_views(images, None, [ViewSpec(), ViewSpec(intensity=None, geometry_of=0)], 0)
    assert torch.equal(view.image, expected.image)
    still = ViewSpec(spatial=None)
    _, second = make_views(images, None, [still, still], 0)
    _, alone = make_views(images, None, [PLAIN, still], 0)
    assert torch.equal(second.image, alone.image)


def test_views_without_intensity_agree_where_they_correspond(smooth_images):
    images = smooth_images(3, 96, 96)
    spec = ViewSpec(intensity=None)
    a, b = make_views(images, None, [spec, spec], 2)
    u, valid = correspond(a.geometry, b.geometry)
    again = torch.nn.functional.grid_sample(b.image, u, align_corners=False)
    inner = valid & (u.abs() < 0.95).all(-1) & (a.geometry.grid().abs() < 0.95).all(-1)
    assert inner.float().mean() > 0.3
    assert (again - a.image)[inner[:, None]].abs().max() < 0.02 * images.std()


def test_labels_follow_the_image(smooth_images):
    side = 64
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    masks = (((x - 28) ** 2 + (y - 36) ** 2) < 18**2).to(torch.uint8).repeat(5, 1, 1)
    spec = ViewSpec(intensity=None, spatial=Spatial(rotation_deg=40, elastic_sd=0.03))
    (view,) = make_views(masks[:, None].float(), masks, [spec], 0)
    known = view.masks != 255
    sure = known & ((view.image[:, 0] < 0.01) | (view.image[:, 0] > 0.99))
    assert set(view.masks.unique().tolist()) == {0, 1, 255}
    assert sure.float().mean() > 0.7
    assert torch.equal(view.image[:, 0][sure].round().long(), view.masks[sure])


@pytest.mark.parametrize(
    ("side", "scale", "expected"),
    [
        (160, 1.0, 160),
        (50, 1.0, 50),
        (160, 0.5, 80),
        (96, 0.4, 32),
        (64, 0.1, 32),
        (20, 0.5, 20),
        (192, 0.6, 112),
    ],
)
def test_the_side_of_a_view(side, scale, expected):
    assert view_side(side, scale) == expected


def test_a_scaled_whole_slice_is_the_mean_of_its_pixels(smooth_images):
    images = smooth_images(2, 64, 64)
    (view,) = make_views(images, None, [ViewSpec(spatial=None, intensity=None, scale=0.5)], 0)
    expected = torch.nn.functional.avg_pool2d(images, 2)
    assert torch.allclose(view.image, expected, atol=1e-5)


@pytest.mark.parametrize("index", [0, 1, 7])
def test_a_geometry_that_is_not_made_yet_is_refused(index):
    first = ViewSpec(geometry_of=index) if index == 0 else ViewSpec()
    specs = (first, ViewSpec(geometry_of=index))
    with pytest.raises(RequestError, match="not made before it"):
        make_views(torch.zeros(1, 1, 32, 32), None, specs, 0)


def test_autocast_around_the_maker_changes_nothing(smooth_images):
    images = smooth_images(2, 32, 32)
    plain = make_views(images, None, PAIR, 0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = make_views(images, None, PAIR, 0)
    assert all(torch.equal(a.image, b.image) for a, b in zip(plain, cast, strict=True))


@settings(deadline=None, max_examples=25)
@given(
    batch=st.integers(1, 5),
    height=st.integers(4, 48),
    width=st.integers(4, 48),
    scale=st.floats(0.05, 1),
    seed=st.integers(0, 2**62),
    masked=st.booleans(),
)
def test_views_of_any_shape_are_finite_and_bounded(batch, height, width, scale, seed, masked):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(batch, 1, height, width, generator=generator)
    masks = torch.full((batch, height, width), 3, dtype=torch.uint8) if masked else None
    specs = (ViewSpec(scale=scale), ViewSpec(spatial=None, scale=scale), ViewSpec(geometry_of=1))
    for view, spec in zip(make_views(images, masks, specs, seed), specs, strict=True):
        size = (view_side(height, spec.scale), view_side(width, spec.scale))
        assert view.image.shape == (batch, 1, *size)
        assert view.geometry.size == size
        assert view.geometry.grid().shape == (batch, *size, 2)
        assert bool(torch.isfinite(view.image).all())
        assert view.image.abs().max() < 30
        assert (view.masks is not None) == masked
        if view.masks is not None:
            assert view.masks.shape == (batch, *size)
            assert set(view.masks.unique().tolist()) <= {3, 255}


def test_channels_share_the_geometry_and_keep_their_own_scale():
    one = torch.linspace(-2, 3, 4 * 32 * 32).view(4, 1, 32, 32).sin()
    shape = ViewSpec(intensity=None, occlusion=Occlusion())
    (view,) = make_views(torch.cat((one, 5 * one + 3), dim=1), None, [shape], 0)
    torch.testing.assert_close(5 * view.image[:, :1] + 3, view.image[:, 1:])
    # What is drawn of grey values is each channel's own, and in its own units.
    spec = ViewSpec(intensity=Intensity(noise_sd=0, gamma=(1.0, 1.0)), occlusion=Occlusion())
    first, second = (
        make_views(torch.cat((one, other), dim=1), None, [spec], 0)[0].image
        for other in (one, 5 * one + 3)
    )
    assert torch.equal(first[:, 0], second[:, 0])
    torch.testing.assert_close(5 * first[:, 1] + 3, second[:, 1])
    assert not torch.isclose(first[:, 0], first[:, 1], atol=0.05).flatten(1).all(1).any()
