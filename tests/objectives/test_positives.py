"""Many-positives contrast against literal loops, in float64, value and gradient."""

import math

import pytest
import torch

from contrabench.objectives.contrast import nt_xent, supervised_contrast
from contrabench.objectives.positives import (
    both_views,
    mean_over_positives,
    near,
    pair_losses,
    position_contrast,
    same,
)

from .conftest import agree


def cosine(a, b):
    return (a * b).sum() / (a.norm() * b.norm())


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


def test_without_a_positive_the_loss_is_zero_with_a_gradient():
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
