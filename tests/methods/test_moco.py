"""MoCo against a run written out by hand: a list as queue, a loop over queries and negatives."""

import copy
from collections import deque

import pytest
import torch
from torch.nn import functional

from contrabench.contracts import registry

from .conftest import batch_normed, exactly, image_normed, pretrain_task

cls = registry.methods.get("moco")
module = __import__(cls.__module__, fromlist=["x"])


def make_task(cases, batch=8, net=None, **options):
    """On a network that normalises the batch, as MoCo's does, or on another one."""
    net = net or batch_normed()
    return pretrain_task(cls(cls.Options(**options)), cases, batch, net=net).double()


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
        queries = head.layers(net.features(first, ("centre",))["centre"].mean((2, 3)))
        pooled = key_net.features(second, ("centre",))["centre"].mean((2, 3))
        keys = key_head.layers(pooled).detach()
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


@pytest.mark.parametrize(("batch", "queue"), [(8, 20), (8, 5), (2, 7)])
def test_steps_by_hand(cases, batch, queue):
    task = make_task(cases, batch, queue=queue, momentum=0.7)
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


def test_the_head_is_the_papers_two_layers_as_wide_as_the_map(cases):
    head = make_task(cases).objective.head
    weights = [tuple(value.shape) for value in head.state_dict().values()]
    assert weights == [(64, 64), (64,), (128, 64), (128,)]
    vectors = torch.randn(3, 64).double()
    first, second = (layer for layer in head.layers if isinstance(layer, torch.nn.Linear))
    hidden = (vectors @ first.weight.T + first.bias).clamp(min=0)
    torch.testing.assert_close(head(vectors), hidden @ second.weight.T + second.bias)


@pytest.mark.parametrize(("build", "apart"), [(batch_normed, True), (image_normed, False)])
def test_the_embeddings_come_apart_where_the_backbone_normalises_the_batch(cases, build, apart):
    task = make_task(cases, net=build(), queue=16)
    first = task(exactly(task.batch(0, 0, 1))).logs["spread"]
    train(task, 20)
    last = task(exactly(task.batch(20, 0, 1))).logs["spread"]
    assert not last.requires_grad
    assert (float(last) > max(0.5, 1.2 * float(first))) == apart
    assert (float(last) < 0.1) != apart


def test_published_settings_are_options_of_stages_that_exist():
    options = cls.Options.model_validate(cls.published.options)
    assert options.momentum == 0.999
    assert set(cls.published.stages) == {stage.name for stage in cls(options).stages()}
