"""The queue against a Python list that drops its oldest entry."""

from collections import deque

import pytest
import torch

from contrabench.objectives.queue import Queue


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
    assert torch.equal(queue.place, other.place)


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
