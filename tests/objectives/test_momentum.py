"""Momentum copies: they follow as written, and neither optimiser nor gradient touches them."""

import math
from collections import deque

import pytest
import torch
from torch import nn

from contrabench.model.weights import build_backbone
from contrabench.objectives.momentum import (
    GrowingQueues,
    MomentumCopy,
    Noted,
    Queue,
    cosine_momentum,
)
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


def test_a_backbone_with_frozen_parts():
    net = build_backbone(BackboneSpec(width=4), 0)
    copy = MomentumCopy(net)
    both = nn.ModuleList([net, copy])
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


def test_it_starts_with_unit_vectors_of_the_global_seed():
    torch.manual_seed(4)
    queue = Queue(10, 6)
    torch.testing.assert_close(queue.memory.norm(dim=1), torch.ones(10))
    torch.manual_seed(4)
    assert torch.equal(Queue(10, 6).memory, queue.memory)


@pytest.mark.parametrize("size", [1, 5, 8, 12])
@pytest.mark.parametrize("batches", [[4, 4, 4], [3, 1, 5, 2, 7], [8, 8], [12, 3], [30]])
def test_the_last_ones_are_kept_in_a_round(size, batches):
    torch.manual_seed(0)
    queue = Queue(size, 3)
    kept = deque(queue.memory.clone(), maxlen=size)
    for count in batches:
        fresh = torch.randn(count, 3)
        queue.hold(fresh)
        queue.push()
        kept.extend(fresh)
        # Read from the place of the oldest on, the memory is the list.
        assert torch.equal(queue.memory.roll(-int(queue.place), 0), torch.stack(list(kept)))


def test_nothing_enters_before_the_push_and_parts_enter_together():
    queue = Queue(8, 3)
    before = queue.memory.clone()
    first, second = torch.randn(2, 3), torch.randn(2, 3)
    queue.hold(first)
    queue.hold(second)
    assert torch.equal(queue.memory, before)
    queue.push()
    assert torch.equal(queue.memory[:4], torch.cat((first, second)))
    after = queue.memory.clone()
    queue.push()
    assert torch.equal(queue.memory, after)


def test_a_resumed_queue_goes_on_where_it_was():
    queue = Queue(7, 3)
    queue.hold(torch.randn(5, 3))
    queue.push()
    other = Queue(7, 3)
    other.load_state_dict(queue.state_dict())
    fresh = torch.randn(4, 3)
    for each in (queue, other):
        each.hold(fresh)
        each.push()
    assert torch.equal(queue.memory, other.memory)
    assert queue.place == other.place == 5 - 7 + 4


def test_it_is_no_parameter_and_holds_no_graph():
    queue = Queue(4, 3)
    queue.hold(torch.randn(2, 3, requires_grad=True) * 2)
    queue.push()
    assert list(queue.parameters()) == []
    assert not queue.memory.requires_grad


def test_half_precision_keys_are_kept_in_float32():
    queue = Queue(4, 3)
    queue.hold(torch.ones(2, 3, dtype=torch.bfloat16))
    queue.push()
    assert queue.memory.dtype == torch.float32


@pytest.mark.parametrize("batches", [[2, 2, 3], [5, 1], [1] * 9, [9], [0, 2], [13]])
def test_growing_queues_hold_what_was_real_and_no_more(batches):
    """Two queues of four, into which every and every other embedding enters."""
    queues, expected, number = GrowingQueues(2, 4, 3), [deque(maxlen=4), deque(maxlen=4)], 0
    assert not queues.filled.any()
    for batch in batches:
        rows = torch.arange(number, number + batch).float()[:, None].expand(-1, 3)
        real = torch.stack((torch.ones(batch), torch.arange(batch) % 2)).bool()
        number += batch
        # In two parts, as of two micro-batches.
        for part in (slice(batch // 2), slice(batch // 2, None)):
            queues.hold(rows[part].expand(2, -1, -1), real[:, part])
        queues.push()
        for own, kept in zip(expected, real, strict=True):
            own.extend(rows[kept].tolist())
        for memory, filled, own in zip(queues.memory, queues.filled, expected, strict=True):
            assert sorted(memory[filled].tolist()) == sorted(own)
            assert not memory[~filled].any()


def test_growing_queues_come_back():
    queues = GrowingQueues(3, 4, 2)
    queues.hold(torch.ones(3, 2, 2), torch.tensor([[False] * 2, [True] * 2, [False] * 2]))
    queues.push()
    again = GrowingQueues(3, 4, 2)
    again.load_state_dict(queues.state_dict())
    assert again.sizes.tolist() == [0, 2, 0]
    assert torch.equal(again.memory[1, :2], torch.ones(2, 2))


def test_a_noted_number_comes_back_as_it_was_saved():
    noted, again = Noted(False), Noted(False)
    noted.note(True)
    again.load_state_dict(noted.state_dict())
    assert again.value is True
    assert bool(again.saved)
