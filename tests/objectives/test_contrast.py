"""Losses against literal loops over their definitions, in float64, value and gradient."""

import math

import pytest
import torch
from lightly.loss import NTXentLoss
from torch.nn import functional

from contrabench.objectives.contrast import (
    both_views,
    info_nce,
    mean_over_positives,
    near,
    nt_xent,
    pair_contrast,
    pair_losses,
    position_contrast,
    same,
    supervised_contrast,
)

from .conftest import agree


def cosine(a, b):
    return (a * b).sum() / (a.norm() * b.norm())


def literal_nt_xent(first, second, tau):
    z = torch.cat((first, second))
    count = len(first)
    total = 0
    for i in range(2 * count):
        partner = (i + count) % (2 * count)
        denominator = sum(torch.exp(cosine(z[i], z[a]) / tau) for a in range(2 * count) if a != i)
        total = total - torch.log(torch.exp(cosine(z[i], z[partner]) / tau) / denominator)
    return total / (2 * count)


def literal_supervised(z, labels, anchors, tau):
    terms = []
    for i in range(len(z)):
        positives = [q for q in range(len(z)) if q != i and labels[q] == labels[i]]
        if not anchors[i] or not positives:
            continue
        denominator = sum(torch.exp(cosine(z[i], z[a]) / tau) for a in range(len(z)) if a != i)
        logs = [torch.log(torch.exp(cosine(z[i], z[q]) / tau) / denominator) for q in positives]
        terms.append(-sum(logs) / len(positives))
    return sum(terms) / len(terms)


def literal_info_nce(query, key, memory, tau):
    total = 0
    for q, k in zip(query, key, strict=True):
        near = torch.exp(cosine(q, k) / tau)
        total = total - torch.log(
            near / (near + sum(torch.exp(cosine(q, m) / tau) for m in memory))
        )
    return total / len(query)


@pytest.mark.parametrize("size", [2, 3, 8])
@pytest.mark.parametrize("tau", [0.1, 0.5])
def test_nt_xent(size, tau):
    torch.manual_seed(size)
    first, second = torch.randn(size, 5), torch.randn(size, 5)
    agree(lambda a, b: nt_xent(a, b, tau), lambda a, b: literal_nt_xent(a, b, tau), first, second)


@pytest.mark.parametrize("tau", [0.07, 0.5])
def test_lightly_agrees_on_nt_xent(tau):
    first, second = torch.randn(2, 9, 5, generator=torch.Generator().manual_seed(1))
    agree(lambda a, b: nt_xent(a, b, tau), NTXentLoss(temperature=tau), first, second)


def test_pairs_meet_in_their_sets_alone():
    first, second = torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(1))
    sets = torch.tensor([[4, 0, -1], [-1, -1, -1], [2, 5, 6]])
    agree(
        lambda a, b: nt_xent(a, b, 0.2, sets),
        lambda a, b: sum(nt_xent(a[s], b[s], 0.2) for s in ([0, 4], [2, 5, 6])) / 2,
        first,
        second,
    )


def test_nt_xent_of_equal_pairs_in_closed_form():
    # Two orthogonal pairs: one positive at similarity 1, two negatives at 0.
    z = torch.eye(2)
    expected = -math.log(math.e**2 / (math.e**2 + 2))
    assert float(nt_xent(z, z, 0.5)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("case", ["random", "one pixel of a class", "two points", "same position"])
def test_supervised_contrast(case):
    torch.manual_seed(1)
    labels = {
        "random": torch.randint(0, 4, (14,)),
        "one pixel of a class": torch.tensor([0, 1, 1, 1, 2, 0]),
        "two points": torch.tensor([1, 1]),
        "same position": torch.tensor([1, 1, 2, 2]),
    }[case]
    z = torch.randn(len(labels), 6)
    if case == "same position":
        z[1] = z[0]
    anchors = labels > 0
    agree(
        lambda x: supervised_contrast(x, labels, anchors, 0.1),
        lambda x: literal_supervised(x, labels, anchors, 0.1),
        z,
    )


def test_without_a_positive_the_loss_is_zero_with_a_gradient():
    z = torch.randn(4, 3, requires_grad=True)
    loss = supervised_contrast(
        z, torch.tensor([0, 0, 1, 2]), torch.tensor([0, 0, 1, 1]).bool(), 0.1
    )
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(z.grad, torch.zeros(4, 3))


def test_permuting_the_points_changes_nothing():
    torch.manual_seed(0)
    z, labels = torch.randn(12, 4), torch.randint(0, 3, (12,))
    order = torch.randperm(12)
    a = supervised_contrast(z, labels, labels > 0, 0.1)
    b = supervised_contrast(z[order], labels[order], labels[order] > 0, 0.1)
    assert float(a) == pytest.approx(float(b), rel=1e-6)


def test_pair_contrast_with_and_without_a_mask():
    positive = torch.tensor([1.0, -0.5])
    negatives = torch.tensor([[0.2, 0.4, 0.6], [0.1, -0.3, 0.9]])
    keep = torch.tensor([[True, False, True], [False, False, False]])

    def literal(p, ns):
        return -math.log(math.exp(p) / (math.exp(p) + sum(math.exp(n) for n in ns)))

    masked = pair_contrast(positive, negatives, keep).tolist()
    assert masked == pytest.approx([literal(1.0, [0.2, 0.6]), 0.0], abs=1e-6)
    whole = pair_contrast(positive, negatives).tolist()
    assert whole == pytest.approx(
        [literal(1.0, [0.2, 0.4, 0.6]), literal(-0.5, [0.1, -0.3, 0.9])], abs=1e-6
    )


def test_bf16_inputs_are_computed_in_float32():
    torch.manual_seed(0)
    first, second = torch.randn(8, 16).bfloat16(), torch.randn(8, 16).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = nt_xent(first, second, 0.1)
    assert loss.dtype == torch.float32
    exact = literal_nt_xent(
        functional.normalize(first.double()), functional.normalize(second.double()), 0.1
    )
    assert float(loss) == pytest.approx(float(exact), rel=1e-4)


@pytest.mark.parametrize(("rows", "remembered"), [(1, 1), (2, 9), (6, 4)])
@pytest.mark.parametrize("tau", [0.07, 0.2])
def test_info_nce(rows, remembered, tau):
    torch.manual_seed(rows)
    agree(
        lambda q, k, m: info_nce(q, k, m, tau),
        lambda q, k, m: literal_info_nce(q, k, m, tau),
        torch.randn(rows, 5),
        torch.randn(rows, 5),
        torch.randn(remembered, 5),
    )


def test_info_nce_agrees_with_lightly():
    from lightly.loss import NTXentLoss

    torch.manual_seed(3)
    query, key, memory = torch.randn(6, 8), torch.randn(6, 8), torch.randn(16, 8)
    peer = NTXentLoss(temperature=0.2, memory_bank_size=(16, 8))
    peer.memory_bank.bank = functional.normalize(memory, dim=1)
    expected = peer(query, key)
    assert float(info_nce(query, key, memory, 0.2)) == pytest.approx(float(expected), rel=1e-5)


def literal(z, positives, tau):
    """Mean over anchors that have a positive; `positives` is a nested list of bools."""
    terms = []
    for i in range(len(z)):
        chosen = [j for j in range(len(z)) if positives[i][j]]
        if not chosen:
            continue
        below = sum(torch.exp(cosine(z[i], z[a]) / tau) for a in range(len(z)) if a != i)
        logs = [torch.log(torch.exp(cosine(z[i], z[j]) / tau) / below) for j in chosen]
        terms.append(-sum(logs) / len(chosen))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("size", [2, 3, 7, 12])
@pytest.mark.parametrize("tau", [0.07, 0.1, 0.5])
def test_any_matrix_of_positives(size, tau):
    torch.manual_seed(size)
    z = torch.randn(size, 5)
    positives = torch.rand(size, size) < 0.4
    positives.fill_diagonal_(False)
    positives[0, 1] = True
    if size > 2:
        positives[-1] = False
    agree(
        lambda x: mean_over_positives(pair_losses(x, tau), positives),
        lambda x: literal(x, positives.tolist(), tau),
        z,
    )


def test_equal_embeddings():
    z = torch.randn(1, 4).repeat(6, 1)
    positives = both_views(same(torch.tensor([0, 0, 1])))
    agree(
        lambda x: mean_over_positives(pair_losses(x, 0.1), positives),
        lambda x: literal(x, positives.tolist(), 0.1),
        z,
    )
    loss = mean_over_positives(pair_losses(z, 0.1), positives)
    assert float(loss) == pytest.approx(math.log(5), rel=1e-5)


def test_leading_dimensions_are_contrasts_of_their_own():
    torch.manual_seed(0)
    z = torch.randn(3, 2, 6, 4, dtype=torch.float64)
    positives = both_views(same(torch.tensor([0, 1, 0])))
    apart = [literal(z[i, j], positives.tolist(), 0.1) for i in range(3) for j in range(2)]
    found = mean_over_positives(pair_losses(z, 0.1), positives)
    assert float(found) == pytest.approx(float(sum(apart) / 6), rel=1e-9)


def test_supervised_contrast_is_the_case_of_classes():
    torch.manual_seed(0)
    z, labels = torch.randn(11, 4), torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 5])
    positives = same(labels) & ~torch.eye(11, dtype=torch.bool)
    agree(
        lambda x: mean_over_positives(pair_losses(x, 0.2), positives),
        lambda x: supervised_contrast(x, labels, torch.ones(11, dtype=torch.bool), 0.2),
        z,
    )


@pytest.mark.parametrize("size", [2, 5])
def test_nt_xent_is_the_case_of_no_relation(size):
    """lightly's loss, but for the factor tau / 0.07."""
    torch.manual_seed(size)
    agree(
        lambda a, b: position_contrast(a, b, torch.eye(size).bool(), 0.1) * 0.7,
        lambda a, b: nt_xent(a, b, 0.1),
        torch.randn(size, 6),
        torch.randn(size, 6),
    )


def test_without_positives_the_mean_is_zero_with_a_gradient():
    z = torch.randn(4, 3, requires_grad=True)
    loss = mean_over_positives(pair_losses(z, 0.1), torch.zeros(4, 4, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(z.grad, torch.zeros(4, 3))


def test_both_views():
    related = same(torch.tensor([7, 8, 7]))
    found = both_views(related)
    for i in range(6):
        for j in range(6):
            assert bool(found[i, j]) == (i != j and bool(related[i % 3, j % 3]))


@pytest.mark.parametrize("depth", [10, 20, 60, 177])
@pytest.mark.parametrize("threshold", [0.05, 0.1, 0.35])
def test_near_is_strict_whatever_the_rounding(depth, threshold):
    numbers = list(range(1, depth + 1))
    position = torch.tensor(numbers, dtype=torch.float32) / depth
    found = near(position, threshold)
    limit = round(threshold * 100) * depth
    for i in range(depth):
        for j in range(depth):
            assert bool(found[i, j]) == (100 * abs(numbers[i] - numbers[j]) < limit)


def test_near_joins_volumes_and_equal_positions():
    position = torch.tensor([0.5, 1.0, 0.5, 1.0, 0.52])
    assert torch.equal(near(position, 0.1)[0], torch.tensor([True, False, True, False, True]))


def test_bf16_embeddings_are_contrasted_in_float32():
    torch.manual_seed(0)
    first, second = torch.randn(4, 8).bfloat16(), torch.randn(4, 8).bfloat16()
    related = same(torch.tensor([0, 1, 0, 2]))
    with torch.autocast("cpu", torch.bfloat16):
        loss = position_contrast(first, second, related, 0.1)
    assert loss.dtype == torch.float32
    exact = literal(torch.cat((first, second)).double(), both_views(related).tolist(), 0.1)
    assert float(loss) == pytest.approx(exact.item() / 0.7, rel=1e-5)
