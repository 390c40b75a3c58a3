"""MoCo against a run written out by hand: a list as queue, a loop over queries and negatives."""

import copy
from collections import deque

import pytest
import torch
from torch.nn import functional

from contrabench.contracts import registry

from .conftest import exactly, pretrain_task

cls = registry.methods.get("moco")
module = __import__(cls.__module__, fromlist=["x"])


def make_task(cases, batch=8, **options):
    return pretrain_task(cls(cls.Options(**options)), cases, batch).double()


def train(task, steps, start=0, parts=1):
    """A few steps of the loop; the losses of all micro-batches."""
    optimizer = torch.optim.SGD([p for p in task.parameters() if p.requires_grad], lr=0.05)
    losses = []
    for step in range(start, start + steps):
        for part in range(parts):
            loss = task(exactly(task.batch(step, part, parts))).loss
            (loss / parts).backward()
            losses.append(loss.item())
        optimizer.step()
        optimizer.zero_grad()
        task.after_step((step + 1) / 10)
    return losses


def by_hand(task, steps, momentum, tau):
    """The same, from copies of the networks and a list."""
    net, head = copy.deepcopy(task.backbone), copy.deepcopy(task.objective.head)
    key_net, key_head = copy.deepcopy(net), copy.deepcopy(head)
    memory = task.objective.queue.memory
    queue = deque(memory.clone(), maxlen=len(memory))
    online = [p for p in (*net.parameters(), *head.parameters()) if p.requires_grad]
    optimizer = torch.optim.SGD(online, lr=0.05)
    losses = []
    for step in range(steps):
        first, second = (view.image for view in exactly(task.batch(step, 0, 1)).views)
        queries = head(net.features(first, ("centre",))["centre"].mean((2, 3)))
        keys = key_head(key_net.features(second, ("centre",))["centre"].mean((2, 3))).detach()
        total = 0
        for q, k in zip(queries, keys, strict=True):
            near = torch.exp(functional.cosine_similarity(q, k, dim=0) / tau)
            far = sum(torch.exp(functional.cosine_similarity(q, n, dim=0) / tau) for n in queue)
            total = total - torch.log(near / (near + far))
        loss = total / len(queries)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        queue.extend(functional.normalize(keys, dim=1))
        with torch.no_grad():
            for own, other in ((key_net, net), (key_head, head)):
                for a, b in zip(own.parameters(), other.parameters(), strict=True):
                    a.copy_(momentum * a + (1 - momentum) * b)
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(
    ("batch", "queue", "batch_norm"), [(8, 20, True), (8, 5, False), (2, 7, True), (2, 7, False)]
)
def test_steps_by_hand(cases, batch, queue, batch_norm):
    task = make_task(cases, batch, queue=queue, momentum=0.7, batch_norm=batch_norm)
    expected = by_hand(task, 4, 0.7, 0.2)
    assert train(task, 4) == pytest.approx(expected, rel=1e-6)


def test_no_gradient_reaches_the_keys(cases):
    task = make_task(cases)
    task(exactly(task.batch(0, 0, 1))).loss.backward()
    assert all(value.grad is None for value in task.objective.key_backbone.buffers())
    assert all(not value.requires_grad for value in task.objective.buffers())


def test_micro_batches_do_not_meet_each_other(cases):
    task = make_task(cases, queue=16)
    before = task.objective.queue.memory.clone()
    for part in range(2):
        task(exactly(task.batch(0, part, 2)))
        assert torch.equal(task.objective.queue.memory, before)
    task.after_step(0.1)
    assert int(task.objective.queue.place) == 8
    assert torch.equal(task.objective.queue.memory[8:], before[8:])


def test_a_resumed_run_ends_in_the_same_bits(cases):
    whole, broken = make_task(cases, queue=12), make_task(cases, queue=12)
    expected = train(whole, 4)
    train(broken, 2)
    resumed = make_task(cases, queue=12)
    resumed.load_state_dict(broken.state_dict())
    assert train(resumed, 2, start=2) == expected[2:]


def test_the_head_normalises_the_batch_unless_told_otherwise(cases):
    def kinds(task):
        return [type(layer).__name__ for layer in task.objective.head.layers]

    assert kinds(make_task(cases)) == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"]
    assert kinds(make_task(cases, batch_norm=False)) == ["Linear", "ReLU", "Linear"]


def test_the_embeddings_stay_apart(cases):
    task = make_task(cases, queue=16)
    first = task(exactly(task.batch(0, 0, 1))).logs["spread"]
    train(task, 20)
    last = task(exactly(task.batch(20, 0, 1))).logs["spread"]
    assert not last.requires_grad
    assert float(first) > 0.7
    assert float(last) > 0.5
    assert float(task.objective.queue.memory.mean(dim=0).norm()) < 0.8


def test_published_settings_are_options_of_stages_that_exist():
    options = cls.Options.model_validate(cls.published.options)
    assert options.momentum == 0.999
    assert set(cls.published.stages) == {stage.name for stage in cls(options).stages()}
