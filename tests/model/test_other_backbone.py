"""A network with other layers, under other names, takes part wherever the engine trains one."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from contrabench import Backbone, BackboneInfo, BackboneSpec, Options
from contrabench.model.segmentation import SegmentationLoss, build_segmenter
from contrabench.model.weights import hand_off
from contrabench.objectives.instance import InstanceContrast, RelationContrast
from contrabench.objectives.pixels import PixelContrast, Reach
from contrabench.training.tasks import set_trainable


class Tiny(Backbone):
    info = BackboneInfo(title="Tiny", source="nowhere")
    parts = ("down", "up")
    taps = ("down", "half", "up")
    deepest, finest, deep_taps, multiple = "down", "up", ("up", "half", "down"), 4

    def __init__(self, spec, options):
        super().__init__(spec, options)
        self.down = nn.Conv2d(spec.in_channels, spec.width, 4, 4)
        self.up = nn.Conv2d(spec.width, spec.width, 3, padding=1)
        self.channels = dict.fromkeys(self.taps, spec.width)

    def forward(self, image, taps, given):
        maps = {"down": self.down(image)}
        maps["half"] = functional.interpolate(maps["down"], scale_factor=2)
        maps["up"] = self.up(functional.interpolate(maps["half"], scale_factor=2))
        return {tap: maps[tap] for tap in taps}


def tiny(in_channels=1):
    return Tiny(BackboneSpec(name="tiny", width=4, in_channels=in_channels), Options())


@pytest.mark.parametrize("deep", [False, True])
def test_it_segments(deep):
    model = build_segmenter(tiny(2), 3, deep, 0)
    image = torch.randn(2, 2, 16, 16)
    logits = model(image)
    assert list(logits) == (["up", "half", "down"] if deep else ["up"])
    SegmentationLoss()(logits, torch.ones(2, 16, 16, dtype=torch.long)).backward()
    assert all(weight.grad is not None for weight in model.parameters())
    assert model.predict(image).shape == (2, 3, 16, 16)


def test_its_parts_are_trained_and_handed_over():
    source, target = tiny(), tiny()
    set_trainable(source, ("up",))
    assert {n.split(".")[0] for n, p in source.named_parameters() if p.requires_grad} == {"up"}
    assert source.last(("up", "down")) == "up"
    assert hand_off(source.state_dict(), target, ("down",)).matched == 2
    assert torch.equal(source.down.weight, target.down.weight)
    assert not torch.equal(source.up.weight, target.up.weight)


def test_shared_objectives_read_its_own_maps():
    net = tiny()
    assert InstanceContrast(net, 0.1, 8).tap == "down"
    assert RelationContrast(net, lambda info: info.patient, 0.1, 8).tap == "down"
    assert PixelContrast(net, 0.1, Reach()).tap == "up"
