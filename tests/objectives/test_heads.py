"""Shapes and layers of the shared heads."""

import pytest
import torch
from torch import nn

from contrabench.model.weights import build_backbone
from contrabench.objectives.heads import GlobalHead, PixelHead, expander, pooled
from contrabench.protocol import BackboneSpec


def widths(head):
    return [layer.out_features for layer in head.modules() if isinstance(layer, nn.Linear)]


@pytest.mark.parametrize(
    ("channels", "width", "expected"),
    [(16, None, 64), (512, None, 2048), (600, None, 2048), (16, 24, 24), (16, 4096, 4096)],
)
def test_an_expander_is_four_times_as_wide_as_its_input_but_at_most_2048(channels, width, expected):
    head = expander(channels, width)
    assert widths(head) == [expected] * 3
    assert all(layer.bias is None for layer in head.modules() if isinstance(layer, nn.Linear))


@pytest.mark.parametrize("linear", [True, False])
def test_a_pixel_head_on_constant_maps_is_a_global_head(linear):
    """Both are the same two layers, one after pooling, one at each place."""
    whole, pixel = GlobalHead(3, 4, hidden=6, linear=linear), PixelHead(3, 6, 4, linear=linear)
    state = {
        name: value.view(*value.shape, 1, 1) if value.ndim == 2 else value
        for name, value in whole.state_dict().items()
    }
    pixel.load_state_dict(state)
    maps = torch.randn(2, 3, 1, 1).expand(2, 3, 5, 7)
    expected = whole(maps.mean((2, 3)))[:, :, None, None].expand(2, 4, 5, 7)
    torch.testing.assert_close(pixel(maps), expected)


def test_pooled_views_stand_one_after_another_whatever_their_size():
    # By itself each view gives what it gives among others, where no batch is normalised.
    spec = BackboneSpec(width=4, in_channels=2, options={"norm": "instance"})
    net = build_backbone(spec, 0)
    full, small = torch.randn(2, 3, 2, 48, 48), torch.randn(1, 3, 2, 32, 32)
    found = pooled(net, list(full), list(small), [])
    each = [net.features(image, ("centre",))["centre"].mean((2, 3)) for image in (*full, *small)]
    assert found.shape == (9, 64)
    torch.testing.assert_close(found, torch.cat(each))
