"""Intensity: units of the image's own deviation, one draw per image, SciPy's blur."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter

from contrabench.contracts.views import Intensity, Occlusion, ViewSpec
from contrabench.errors import RequestError
from contrabench.views.intensity import (
    alter_intensity,
    apply_gamma,
    deviation,
    draw_hidden,
    draw_intensity,
    gaussian_blur,
    hide,
    scale_contrast,
    spread,
)
from contrabench.views.maker import make_views

NONE = {"brightness_sd": 0, "contrast": (1, 1), "gamma": (1, 1), "noise_sd": 0, "blur_px": 0}
PARTS = {
    "brightness": {"brightness_sd": 0.5},
    "contrast": {"contrast": (0.75, 1.25)},
    "gamma": {"gamma": (0.7, 1.5)},
    "noise": {"noise_sd": 0.1},
    "blur": {"blur_px": 1.0},
}


def only(part, probability=1.0):
    return Intensity(**{**NONE, **PARTS[part], "probability": probability})


def images_of(batch, side=24, seed=0):
    return torch.randn(batch, 1, side, side, generator=torch.Generator().manual_seed(seed)) * 3 + 1


def alter(images, spec, seed=0):
    drawn = draw_intensity(spec, *images.shape[:2], seed)
    return alter_intensity(images, spec, drawn, deviation(images), seed)


def hidden_pixels(spec, batch, size, seed):
    return spread(draw_hidden(spec, batch, size, seed), size)


def column(*values):
    return torch.tensor(values).view(-1, 1, 1, 1)


def test_the_deviation_is_numpys():
    images = images_of(5) * column(1.0, 10.0, 0.1, 3.0, 0.0)
    assert deviation(images).shape == (5, 1, 1, 1)
    np.testing.assert_allclose(
        deviation(images).flatten().numpy(), images.numpy().std((1, 2, 3)), rtol=1e-5, atol=1e-7
    )


def test_brightness_shifts_each_image_evenly_within_its_strength():
    images = images_of(400, side=8)
    shift = (alter(images, only("brightness")) - images) / deviation(images)
    each = shift.mean((1, 2, 3))
    assert (shift - each[:, None, None, None]).abs().max() < 1e-5
    assert each.abs().max() <= 0.5 + 1e-5
    assert each.min() < -0.48
    assert each.max() > 0.48
    assert each.unique().numel() > 390


def test_each_channel_is_altered_by_itself():
    images = torch.cat([images_of(300, side=8), 50 + 9 * images_of(300, side=8, seed=1)], dim=1)
    unit = deviation(images)
    shift = ((alter(images, only("brightness")) - images) / unit).mean((2, 3))
    assert shift.abs().max() <= 0.5 + 1e-4
    assert torch.corrcoef(shift.T)[0, 1].abs() < 0.2


def test_contrast_scales_about_the_mean_within_its_range():
    images = images_of(400, side=8)
    altered = alter(images, only("contrast"))
    assert torch.allclose(altered.mean((1, 2, 3)), images.mean((1, 2, 3)), atol=1e-4)
    factor = (deviation(altered) / deviation(images)).flatten()
    assert 0.75 - 1e-4 <= factor.min() < 0.77
    assert 1.23 < factor.max() <= 1.25 + 1e-4
    image = images[:1]
    expected = image.mean() + 1.2 * (image - image.mean())
    assert torch.allclose(scale_contrast(image, column(1.2)), expected, atol=1e-5)


def test_gamma_keeps_smallest_and_largest_value_and_the_order():
    images = images_of(200, side=8)
    altered = alter(images, only("gamma"))
    for reduce in (torch.amin, torch.amax):
        assert torch.allclose(reduce(altered, (1, 2, 3)), reduce(images, (1, 2, 3)), atol=1e-5)
    order = images.flatten(1).argsort(1)
    assert altered.flatten(1).gather(1, order).diff(dim=1).min() > -1e-5


def test_gamma_is_a_power_of_the_share_of_the_range():
    image = torch.tensor([-2.0, 0.0, 1.0, 2.0]).view(1, 1, 2, 2)
    expected = torch.tensor([0.0, 0.5, 0.75, 1.0]) ** 1.5 * 4 - 2
    assert torch.allclose(apply_gamma(image, column(1.5)).flatten(), expected)


def test_exponents_are_drawn_evenly_on_a_logarithmic_scale():
    image = torch.tensor([0.0, 0.5, 1.0, 1.0]).view(1, 1, 2, 2).repeat(4000, 1, 1, 1)
    spec = Intensity(**{**NONE, "gamma": (0.5, 2.0), "probability": 1})
    exponents = alter(image, spec)[:, 0, 0, 1].log() / math.log(0.5)
    assert exponents.log().mean().abs() < 0.03
    assert 0.5 - 1e-4 <= exponents.min() < 0.51
    assert 1.98 < exponents.max() <= 2 + 1e-3


def test_noise_is_normal_and_of_its_own_strength_in_each_image():
    images = images_of(100, side=64)
    noise = (alter(images, only("noise")) - images) / deviation(images)
    strength = noise.std((1, 2, 3))
    assert strength.max() < 0.105
    assert strength.max() > 0.09
    assert strength.min() < 0.02
    assert strength.mean().item() == pytest.approx(0.05, abs=0.01)
    standard = (noise / strength.view(-1, 1, 1, 1)).flatten()
    assert standard.mean().abs() < 0.01
    assert (standard**4).mean().item() == pytest.approx(3, abs=0.1)
    # No two images, rows or neighbours share their noise.
    flat = standard.view(100, -1)
    assert torch.corrcoef(flat[:10]).fill_diagonal_(0).abs().max() < 0.1
    assert (flat[:, 1:] * flat[:, :-1]).mean().abs() < 0.01


def test_the_blur_is_scipys_with_a_deviation_for_each_image():
    images, sigmas = images_of(4, side=20), (0.0, 0.4, 0.9, 1.5)
    blurred = gaussian_blur(images, column(*sigmas), 1.5)
    assert torch.equal(blurred[0], images[0])
    for image, result, sigma in zip(images[1:], blurred[1:], sigmas[1:], strict=True):
        expected = gaussian_filter(image[0].double().numpy(), sigma, mode="nearest", radius=5)
        np.testing.assert_allclose(result[0].numpy(), expected, atol=1e-5)


def test_a_blur_wider_than_the_image_still_works():
    blurred = gaussian_blur(images_of(1, side=4), column(3.0), 3.0)
    assert bool(torch.isfinite(blurred).all())
    assert blurred.std() < images_of(1, side=4).std()


@pytest.mark.parametrize("part", PARTS)
def test_each_part_alone_changes_the_image_and_its_absence_does_not(part):
    images = images_of(64)
    change = (alter(images, only(part)) - images).abs().mean((1, 2, 3)) / deviation(images)[
        :, 0, 0, 0
    ]
    assert change.mean() > 0.02
    # A blur of less than a quarter of a pixel reaches no neighbour: a quarter of the draws.
    assert (change > 1e-3).float().mean() > (0.6 if part == "blur" else 0.9)
    assert torch.allclose(alter(images, Intensity(**NONE, probability=1)), images, atol=1e-5)
    assert torch.allclose(alter(images, only(part, probability=0)), images, atol=1e-5)


@pytest.mark.parametrize("part", PARTS)
def test_each_part_is_applied_with_its_probability(part):
    images = images_of(1).repeat(2000, 1, 1, 1)[..., :6, :6]
    always, sometimes = (
        ((alter(images, only(part, probability=p)) - images).abs().amax((1, 2, 3)) > 1e-4)
        for p in (1.0, 0.3)
    )
    assert not bool((sometimes & ~always).any())
    assert (sometimes.sum() / always.sum()).item() == pytest.approx(0.3, abs=0.04)


def test_the_parts_are_gated_independently():
    spec = Intensity(**{**NONE, "brightness_sd": 0.5, "contrast": (1.5, 2.0), "probability": 0.5})
    images = images_of(1).repeat(2000, 1, 1, 1)[..., :6, :6]
    altered = alter(images, spec)
    shifted = (altered.mean((1, 2, 3)) - images.mean((1, 2, 3))).abs() > 1e-4
    scaled = (deviation(altered) / deviation(images)).flatten() > 1.1
    assert (shifted & scaled).float().mean().item() == pytest.approx(0.25, abs=0.04)


def test_another_seed_draws_other_noise_not_only_another_strength():
    images = images_of(10, side=32)
    first, second = (alter(images, only("noise"), seed) - images for seed in (0, 1))
    both = torch.corrcoef(torch.cat((first.flatten(1), second.flatten(1))))
    assert both.fill_diagonal_(0).abs().max() < 0.15


@settings(deadline=None, max_examples=25)
@given(
    scale=st.floats(0.01, 1000),
    offset=st.floats(-3, 3),
    seed=st.integers(0, 2**60),
    batch=st.integers(1, 6),
    side=st.integers(4, 20),
)
def test_the_change_scales_with_the_image(scale, offset, seed, batch, side):
    images = images_of(batch, side)
    change = alter(images, Intensity(), seed) - images
    scaled = (images + offset) * scale
    assert torch.allclose(
        (alter(scaled, Intensity(), seed) - scaled) / scale, change, atol=1e-3, rtol=1e-3
    )


def test_a_flat_image_stays_flat_and_finite():
    images = torch.full((2, 1, 8, 8), 3.5)
    assert torch.allclose(alter(images, Intensity(probability=1)), images, atol=1e-5)


def test_identical_images_are_altered_differently():
    altered = alter(images_of(1).repeat(8, 1, 1, 1), Intensity())
    distance = torch.cdist(altered.flatten(1), altered.flatten(1)) + 99 * torch.eye(8)
    assert distance.min() > 0.1


@pytest.mark.parametrize("spec", [Intensity(), Intensity(**NONE), Intensity(probability=0)])
def test_the_result_is_new_memory_and_the_image_untouched(spec):
    images = images_of(3)
    before = images.clone()
    altered = alter(images, spec)
    altered.zero_()
    assert torch.equal(images, before)


WHOLE = ViewSpec(intensity=None)
OCCLUDED = ViewSpec(intensity=None, geometry_of=0, occlusion=Occlusion())


def blocks_of(hidden, cells):
    """(B, cells, cells) number of hidden pixels of each block."""
    height, width = (length // cells for length in hidden.shape[1:])
    return hidden.unflatten(2, (cells, width)).unflatten(1, (cells, height)).sum((2, 4))


@pytest.mark.parametrize(
    ("share", "cells", "size"),
    [(0.6, 8, (32, 32)), (0.25, 4, (16, 48)), (0.01, 16, (32, 64)), (0.8, 2, (32, 32))],
)
def test_exactly_the_share_is_hidden_in_whole_blocks(share, cells, size):
    hidden = hidden_pixels(Occlusion(share=share, cells=cells), 5, size, 3)
    assert hidden.shape == (5, *size)
    assert hidden.dtype == torch.bool
    count = blocks_of(hidden, cells)
    full = size[0] // cells * (size[1] // cells)
    assert set(count.unique().tolist()) == {0, full}
    assert (count == full).sum((1, 2)).tolist() == [round(share * cells**2)] * 5


def test_a_seed_settles_the_blocks_image_by_image():
    spec = Occlusion()
    many = hidden_pixels(spec, 9, (32, 32), 0)
    assert torch.equal(hidden_pixels(spec, 9, (32, 32), 0), many)
    for fewer in (1, 4):
        assert torch.equal(hidden_pixels(spec, fewer, (32, 32), 0), many[:fewer])
    larger = hidden_pixels(spec, 9, (64, 64), 0)
    assert torch.equal(larger[:, ::2, ::2], many)
    assert not torch.equal(hidden_pixels(spec, 9, (32, 32), 1), many)
    assert len(many.flatten(1).unique(dim=0)) == 9


def test_every_block_is_hidden_equally_often():
    hidden = hidden_pixels(Occlusion(share=0.5, cells=4), 4000, (4, 4), 0)
    assert (hidden.float().mean(0) - 0.5).abs().max() < 0.04


def test_hidden_pixels_are_the_mean_and_the_others_stay():
    images = torch.randn(3, 1, 8, 8)
    kept = images.clone()
    hidden = hidden_pixels(Occlusion(share=0.5, cells=4), 3, (8, 8), 0)
    found = hide(images, hidden)
    for i in range(3):
        for y in range(8):
            for x in range(8):
                wanted = images[i].mean() if hidden[i, y, x] else images[i, 0, y, x]
                assert found[i, 0, y, x] == pytest.approx(float(wanted), abs=1e-6)
    assert torch.equal(images, kept)


def test_the_visible_pixels_of_an_occluded_view_are_those_of_the_whole_one(smooth_images):
    whole, occluded = make_views(smooth_images(4, 32, 32), None, [WHOLE, OCCLUDED], 0)
    assert whole.hidden is None
    seen = ~occluded.hidden[:, None]
    assert torch.equal(occluded.image[seen], whole.image[seen])
    for i in range(4):
        values = occluded.image[i, 0][occluded.hidden[i]]
        assert torch.equal(values, values[0].expand_as(values))
        assert float(values[0]) == pytest.approx(float(whole.image[i].mean()), abs=1e-6)
    assert occluded.geometry is whole.geometry


def test_the_maker_draws_blocks_by_seed_view_and_place(smooth_images):
    images = smooth_images(6, 32, 32)
    specs = [ViewSpec(occlusion=Occlusion()), ViewSpec(occlusion=Occlusion())]
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, second = make_views(images, None, specs, 0)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(first.hidden, second.hidden)
    again = make_views(images[:2], None, specs, 0)[1]
    assert torch.equal(again.hidden, second.hidden[:2])
    other = make_views(images, None, specs, 1)[0]
    assert not torch.equal(other.hidden, first.hidden)


def test_an_occlusion_changes_nothing_else_of_a_view(smooth_images):
    images = smooth_images(3, 32, 32)
    masks = torch.randint(0, 4, (3, 32, 32), dtype=torch.uint8)
    (plain,) = make_views(images, masks, [ViewSpec()], 0)
    (occluded,) = make_views(images, masks, [ViewSpec(occlusion=Occlusion())], 0)
    seen = ~occluded.hidden[:, None]
    assert torch.equal(plain.image[seen], occluded.image[seen])
    assert torch.equal(plain.masks, occluded.masks)
    assert torch.equal(plain.geometry.grid(), occluded.geometry.grid())


def test_views_share_no_memory(smooth_images):
    images = smooth_images(2, 32, 32)
    still = ViewSpec(spatial=None, intensity=None)
    specs = [still, still.model_copy(update={"occlusion": Occlusion(), "geometry_of": 0})]
    views = make_views(images, None, specs, 0)
    pointers = {t.untyped_storage().data_ptr() for t in (images, *(v.image for v in views))}
    assert len(pointers) == 3


@pytest.mark.parametrize(("share", "cells"), [(0.01, 4), (0.99, 4), (0.1, 2)])
def test_a_share_that_hides_nothing_or_all_is_refused(share, cells):
    with pytest.raises(ValidationError, match="hides some and leaves some"):
        Occlusion(share=share, cells=cells)


def test_unequal_blocks_are_refused():
    with pytest.raises(RequestError, match="no 7 equal blocks"):
        hidden_pixels(Occlusion(cells=7), 1, (32, 32), 0)
