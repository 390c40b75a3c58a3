"""Momentum copies: they follow as written, and neither optimiser nor gradient touches them."""

import math

import pytest
import torch
from torch import nn

from contrabench.model.build import build_backbone
from contrabench.objectives.momentum import MomentumCopy, cosine_momentum
from contrabench.protocol import BackboneSpec


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))


def nudge(module):
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(torch.randn_like(weight))


def test_cosine_momentum_rises_from_the_base_to_one():
    values = [cosine_momentum(0.99, step / 10) for step in range(11)]
    assert values[0] == pytest.approx(0.99)
    assert values[5] == pytest.approx(0.995)
    assert values[10] == 1
    assert values == sorted(values)
    expected = 1 - 0.01 * (math.cos(math.pi * 3 / 10) + 1) / 2
    assert values[3] == pytest.approx(expected)


def test_a_copy_computes_what_the_original_computed_at_first():
    module = network()
    copy = MomentumCopy(module)
    x = torch.randn(8, 4)
    assert torch.equal(copy.copied(x), module(x))


def test_the_weights_are_buffers_of_the_state_and_no_parameters():
    copy = MomentumCopy(network())
    assert list(copy.parameters()) == []
    assert {f"copied.{name}" for name in network().state_dict()} == set(copy.state_dict())


def test_the_original_stays_as_it_is():
    module = network()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    copy = MomentumCopy(module)
    nudge(module)
    copy.follow(module, 0.5)
    copy.copied(torch.randn(8, 4))
    assert all(weight.requires_grad for weight in module.parameters())
    assert {name for name, _ in module.named_parameters()} <= set(before)
    assert torch.equal(module.get_buffer("1.running_mean"), before["1.running_mean"])


@pytest.mark.parametrize("keep", [0.0, 0.7, 0.99, 1.0])
def test_following_by_hand(keep):
    module = network().double()
    copy = MomentumCopy(module)
    wanted = {name: weight.detach().clone() for name, weight in module.named_parameters()}
    for _ in range(3):
        nudge(module)
        copy.follow(module, keep)
        for name, weight in module.named_parameters():
            wanted[name] = keep * wanted[name] + (1 - keep) * weight.detach()
    for name, value in wanted.items():
        torch.testing.assert_close(copy.copied.get_buffer(name), value, rtol=1e-12, atol=1e-12)


def test_running_statistics_are_its_own():
    module = network()
    copy = MomentumCopy(module)
    module(torch.randn(8, 4) + 5)
    copy.follow(module, 0.0)
    assert torch.equal(copy.copied.get_buffer("1.running_mean"), torch.zeros(6))


def test_no_gradient_reaches_the_copy_or_passes_it():
    module = network()
    copy = MomentumCopy(module)
    x = torch.randn(8, 4)
    with torch.no_grad():
        target = copy.copied(x)
    (module(x) - target - 1).square().sum().backward()
    assert not target.requires_grad
    assert all(value.grad is None for value in copy.buffers())


def test_state_comes_back():
    module = network()
    copy = MomentumCopy(module)
    nudge(module)
    copy.follow(module, 0.9)
    other = MomentumCopy(network())
    other.load_state_dict(copy.state_dict())
    x = torch.randn(8, 4)
    assert torch.equal(other.copied(x), copy.copied(x))


def test_a_backbone_with_frozen_parts_in_channels_last():
    net = build_backbone(BackboneSpec(width=4), 0)
    copy = MomentumCopy(net)
    both = nn.ModuleList([net, copy]).to(memory_format=torch.channels_last)
    assert sum(p.numel() for p in both.parameters()) == sum(p.numel() for p in net.parameters())
    nudge(net)
    copy.follow(net, 0.25)
    image = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        apart = (
            copy.copied.features(image, ("dec1",))["dec1"] - net.features(image, ("dec1",))["dec1"]
        )
    assert apart.abs().max() > 0
    copy.follow(net, 0.0)
    with torch.no_grad():
        found = copy.copied.features(image, ("dec1",))["dec1"]
        torch.testing.assert_close(found, net.features(image, ("dec1",))["dec1"])
