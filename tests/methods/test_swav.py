"""SwAV: codes and loss against loops over their definitions, prototypes, queue, crops."""

import pytest
import torch
from torch.nn import functional

from contrabench.contracts import registry

from .conftest import agree, pretrain_task

SwAV = registry.methods.get("swav")
module = __import__(SwAV.__module__, fromlist=["x"])


def sinkhorn(scores, epsilon, iterations):
    """Element by element: prototypes to weight 1 / K, slices to 1 / B; a code sums to 1."""
    count, clusters = scores.shape
    q = [[torch.exp(scores[b, k] / epsilon) for k in range(clusters)] for b in range(count)]
    for _ in range(iterations):
        for k in range(clusters):
            weight = sum(q[b][k] for b in range(count)) * clusters
            for b in range(count):
                q[b][k] = q[b][k] / weight
        for b in range(count):
            weight = sum(q[b]) * count
            q[b] = [value / weight for value in q[b]]
    return [[value * count for value in row] for row in q]


def literal(full, small, past, tau, epsilon, iterations):
    """Every full view's code, predicted by every other view and crop."""
    views, total = [*full, *small], 0
    for i, own in enumerate(full):
        every = own if past is None else torch.cat((own, past[i]))
        codes = sinkhorn(every.detach(), epsilon, iterations)
        for v, other in enumerate(views):
            if v == i:
                continue
            for b in range(len(own)):
                denominator = sum(torch.exp(s / tau) for s in other[b])
                for k in range(own.shape[1]):
                    share = torch.exp(other[b, k] / tau) / denominator
                    total = total - codes[b][k] * torch.log(share) / (len(own) * (len(views) - 1))
    return total / len(full)


def scores(count, clusters, generator, dim=5):
    z = functional.normalize(torch.randn(count, dim, generator=generator).double(), dim=1)
    c = functional.normalize(torch.randn(clusters, dim, generator=generator).double(), dim=1)
    return z @ c.T


CASES = {
    "two views": (4, 3, 0, 0),
    "multi-crop": (4, 5, 3, 0),
    "with a queue": (3, 4, 1, 6),
    "batch of two": (2, 7, 2, 0),
    "fewer prototypes than slices": (6, 2, 0, 4),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("tau", "epsilon", "iterations"), [(0.1, 0.05, 3), (0.3, 0.2, 1)])
def test_swapped_prediction(case, tau, epsilon, iterations):
    count, clusters, crops, remembered = CASES[case]
    generator = torch.Generator().manual_seed(len(case))
    leaves = [scores(count, clusters, generator).requires_grad_() for _ in range(2 + crops)]
    past = [scores(remembered, clusters, generator) for _ in range(2)] if remembered else None
    settings = (tau, epsilon, iterations)
    expected = literal(leaves[:2], leaves[2:], past, *settings)
    found = module.swapped_prediction(leaves[:2], leaves[2:], past, *settings)
    agree(found, expected, leaves)


def test_codes_are_the_optimal_plan_of_equal_weights():
    from lightly.loss.swav_loss import sinkhorn as codes_of

    plain = scores(12, 4, torch.Generator().manual_seed(1))
    codes = codes_of(plain, iterations=500, epsilon=0.2)
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(12).double())
    torch.testing.assert_close(codes.sum(dim=0), torch.full((4,), 3.0).double())
    # The optimum has the form u_b exp(s_bk / epsilon) v_k and is the only one of these weights.
    rest = codes.log() - plain / 0.2
    centred = rest - rest.mean(0) - rest.mean(1, keepdim=True) + rest.mean()
    torch.testing.assert_close(centred, torch.zeros_like(centred), rtol=0, atol=1e-8)


def test_codes_take_no_gradient():
    own = scores(4, 3, torch.Generator().manual_seed(2)).requires_grad_()
    even = torch.zeros(4, 3).double()
    loss = module.swapped_prediction([own, even], [], None, 0.1, 0.05, 3)
    # All that may be left is own's prediction of the other view's code, which is uniform.
    prediction = torch.softmax(own.detach() / 0.1, dim=1)
    (grad,) = torch.autograd.grad(loss, own)
    torch.testing.assert_close(grad, (prediction - 1 / 3) / 0.1 / 4 / 2)


@pytest.mark.parametrize("epsilon", [0.03, 0.05])
def test_float32_holds_the_whole_range_of_scores(epsilon):
    extreme = torch.ones(8, 6)
    extreme[:, 3:] = -1
    loss = module.swapped_prediction([extreme, extreme], [], None, 0.1, epsilon, 3)
    exact = module.swapped_prediction(
        [extreme.double(), extreme.double()], [], None, 0.1, epsilon, 3
    )
    assert float(loss) == pytest.approx(float(exact), rel=1e-4)


def test_share_in_use():
    even, single = torch.zeros(5, 8), torch.full((5, 8), -1.0)
    single[:, 2] = 1.0
    assert float(module.share_in_use(even, 0.1)) == pytest.approx(1.0)
    assert float(module.share_in_use(single, 0.01)) == pytest.approx(1 / 8)


def make(cases, batch=8, **options):
    return pretrain_task(SwAV(SwAV.Options(**options)), cases, batch)


def train(task, steps, total, optimizer=None, start=0, parts=1):
    """As the loop does it; yields after every step."""
    chosen = [p for p in task.parameters() if p.requires_grad]
    optimizer = optimizer or torch.optim.AdamW(chosen, lr=1e-2, weight_decay=0.5)
    for step in range(start, start + steps):
        optimizer.zero_grad(set_to_none=True)
        for part in range(parts):
            (task(task.batch(step, part, parts)).loss / parts).backward()
        optimizer.step()
        task.after_step((step + 1) / total)
        yield step + 1


def test_prototypes_wait_then_move_and_keep_unit_length(cases):
    task = make(cases, frozen=0.3, queue=0)
    start = task.objective.prototypes.detach().clone()
    for done in train(task, 6, 10):
        now = task.objective.prototypes.detach()
        assert torch.equal(now, start) == (done <= 3)
        torch.testing.assert_close(now.norm(dim=1), torch.ones(len(now)))
    assert (now - start).norm(dim=1).min() > 0


def test_without_a_frozen_phase_prototypes_move_at_once(cases):
    task = make(cases, frozen=0, queue=0)
    start = task.objective.prototypes.detach().clone()
    next(train(task, 1, 10))
    assert not torch.equal(task.objective.prototypes, start)


def test_queue_is_used_once_late_enough_and_full(cases):
    # Full after three steps of eight slices; late enough after one or after five.
    for start, first in ((0.1, 3), (0.5, 5)):
        task = make(cases, queue=24, queue_from=start)
        for done in train(task, 6, 10):
            assert bool(task.objective.recalling.value) == (done >= first)


def test_queue_holds_the_last_embeddings_of_each_view(cases):
    task = make(cases, queue=12, dim=6, small_crops=1)
    objective, seen = task.objective, []
    task.objective.head.register_forward_hook(lambda *a: seen.append(a[2].detach()))
    for _ in train(task, 2, 10):
        pass
    rows = torch.cat([torch.cat(functional.normalize(z, dim=1).chunk(3)[:2], dim=1) for z in seen])
    assert objective.queue.memory.shape == (12, 12)
    # Sixteen rows into twelve places: the last four lie over the first four.
    torch.testing.assert_close(objective.queue.memory[4:], rows[4:12])
    torch.testing.assert_close(objective.queue.memory[:4], rows[12:])


def test_the_queue_changes_the_loss_only_when_recalled(cases):
    task = make(cases, queue=8, queue_from=0)
    batch = task.batch(0, 0, 1)
    before = task(batch).loss.item()
    task.objective.queue.memory.copy_(
        functional.normalize(torch.randn(8, 2, 128), dim=2).flatten(1)
    )
    assert task(batch).loss.item() == pytest.approx(before, rel=1e-6)
    task.objective.recalling.note(True)
    assert task(batch).loss.item() != pytest.approx(before, rel=1e-4)


def test_a_resumed_run_ends_in_the_same_weights(cases):
    whole, first = make(cases, queue=16, frozen=0.2), make(cases, queue=16, frozen=0.2)
    for _ in train(whole, 6, 6):
        pass
    chosen = [p for p in first.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(chosen, lr=1e-2, weight_decay=0.5)
    for _ in train(first, 4, 6, optimizer):
        pass
    second = make(cases, queue=16, frozen=0.2)
    second.load_state_dict(first.state_dict())
    chosen = [p for p in second.parameters() if p.requires_grad]
    resumed = torch.optim.AdamW(chosen, lr=1e-2, weight_decay=0.5)
    resumed.load_state_dict(optimizer.state_dict())
    for _ in train(second, 2, 6, resumed, start=4):
        pass
    for name, value in whole.state_dict().items():
        assert torch.equal(second.state_dict()[name], value), name


@pytest.mark.parametrize(("options", "parts"), [({}, 2), ({"small_crops": 0, "queue": 0}, 4)])
def test_accumulated_and_tiny_batches_train(cases, options, parts):
    task = make(cases, frozen=0, **options)
    for _ in train(task, 3, 3, parts=parts):
        assert all(torch.isfinite(p).all() for p in task.parameters())


def test_crops_are_small_and_their_number_an_option(cases):
    sides = [view.image.shape[-1] for view in make(cases).batch(0, 0, 1).views]
    assert len(sides) == 6
    assert len(make(cases, small_crops=0).batch(0, 0, 1).views) == 2
    areas = [spec.spatial.crop_area for spec in SwAV().stages()[0].views]
    assert [spec.scale for spec in SwAV().stages()[0].views] == [1, 1, 0.6, 0.6, 0.6, 0.6]
    assert areas[2][1] <= areas[0][0]


def test_published_options_are_valid():
    assert SwAV.Options.model_validate(SwAV.published.options).small_crops == 6
