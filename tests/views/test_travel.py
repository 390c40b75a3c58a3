"""What is drawn arrives as it was, whatever its types and wherever it goes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from contrabench.contracts.views import Occlusion, ViewSpec
from contrabench.views.maker import draw_views, make_views, render_views
from contrabench.views.travel import Parcel, moved

CPU = torch.device("cpu")
SPECS = [ViewSpec(), ViewSpec(geometry_of=0, occlusion=Occlusion(cells=4)), ViewSpec(scale=0.5)]


@dataclass(frozen=True)
class Load:
    number: int
    inner: tuple[Tensor, Tensor | None]
    flag: Tensor


def test_every_type_and_shape_survives_a_parcel():
    load = Load(
        7, (torch.randn(3, 5, dtype=torch.float64), None), torch.tensor([True, False, True])
    )
    nested = (load, (torch.arange(11), torch.zeros(0, 2)), torch.tensor(3.5))
    found = Parcel(nested, CPU).opened()
    assert found[0].number == 7
    assert found[0].inner[1] is None
    pairs = (
        (found[0].inner[0], load.inner[0]),
        (found[0].flag, load.flag),
        (found[1][0], nested[1][0]),
        (found[1][1], nested[1][1]),
        (found[2], nested[2]),
    )
    for one, other in pairs:
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert torch.equal(one, other)
    # One buffer, and not the senders' memory.
    assert len({one.untyped_storage().data_ptr() for one, _ in pairs if one.numel()}) == 1
    assert found[0].flag.data_ptr() != load.flag.data_ptr()


def test_views_from_a_parcel_are_those_made_on_the_spot(smooth_images):
    images = smooth_images(4, 32, 32)
    drawn = Parcel(draw_views(tuple(images.shape), SPECS, 5), CPU).opened()
    there = render_views(images, None, SPECS, drawn)
    for one, other in zip(there, make_views(images, None, SPECS, 5), strict=True):
        assert torch.equal(one.image, other.image)
    assert there[1].geometry is there[0].geometry


def test_on_the_cpu_nothing_moves():
    drawn = draw_views((2, 1, 32, 32), SPECS, 0)
    assert moved(drawn, CPU) is drawn
