"""Losses against literal loops over their definitions, in float64, value and gradient."""

import math

import pytest
import torch
from torch.nn import functional

from contrabench.objectives.contrast import info_nce, nt_xent, pair_contrast, supervised_contrast

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
