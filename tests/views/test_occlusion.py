"""Hidden blocks: how many, which ones, and what the view holds in their place."""

import pytest
import torch
from pydantic import ValidationError

from contrabench.contracts.views import Occlusion, ViewSpec
from contrabench.errors import RequestError
from contrabench.views.maker import make_views
from contrabench.views.occlusion import draw_hidden, hide

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
    hidden = draw_hidden(Occlusion(share=share, cells=cells), 5, size, 3)
    assert hidden.shape == (5, *size)
    assert hidden.dtype == torch.bool
    count = blocks_of(hidden, cells)
    full = size[0] // cells * (size[1] // cells)
    assert set(count.unique().tolist()) == {0, full}
    assert (count == full).sum((1, 2)).tolist() == [round(share * cells**2)] * 5


def test_a_seed_settles_the_blocks_image_by_image():
    spec = Occlusion()
    many = draw_hidden(spec, 9, (32, 32), 0)
    assert torch.equal(draw_hidden(spec, 9, (32, 32), 0), many)
    for fewer in (1, 4):
        assert torch.equal(draw_hidden(spec, fewer, (32, 32), 0), many[:fewer])
    larger = draw_hidden(spec, 9, (64, 64), 0)
    assert torch.equal(larger[:, ::2, ::2], many)
    assert not torch.equal(draw_hidden(spec, 9, (32, 32), 1), many)
    assert len(many.flatten(1).unique(dim=0)) == 9


def test_every_block_is_hidden_equally_often():
    hidden = draw_hidden(Occlusion(share=0.5, cells=4), 4000, (4, 4), 0)
    assert (hidden.float().mean(0) - 0.5).abs().max() < 0.04


def test_hidden_pixels_are_the_mean_and_the_others_stay():
    images = torch.randn(3, 1, 8, 8)
    kept = images.clone()
    hidden = draw_hidden(Occlusion(share=0.5, cells=4), 3, (8, 8), 0)
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
        draw_hidden(Occlusion(cells=7), 1, (32, 32), 0)
