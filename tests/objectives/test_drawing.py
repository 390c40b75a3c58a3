"""Draws of what a mask allows: who is drawn, how often, and from where."""

import math

import pytest
import torch

from contrabench.objectives.drawing import pick, sent, some, stratified


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def mask_of(*rows, length=40):
    """Masks that are true at some places each."""
    mask = torch.zeros(len(rows), length, dtype=torch.bool)
    for own, places in zip(mask, rows, strict=True):
        own[list(places)] = True
    return mask


def test_what_is_sent_is_what_was_drawn():
    drawn = torch.rand(3)
    assert torch.equal(sent(drawn, torch.device("cpu")), drawn)


def test_some_are_all_if_they_are_few_and_else_drawn_without_replacement():
    rows = range(10, 30)
    places, real = some(
        mask_of(rows, rows, (), (3,)), torch.tensor([[20], [7], [5], [5]]), 20, seeded()
    )
    found = [own[kept].tolist() for own, kept in zip(places, real, strict=True)]
    assert found[0] == list(rows)
    assert len(found[1]) == len(set(found[1])) == 7
    assert set(found[1]) <= set(rows)
    assert found[2:] == [[], [3]]


def test_each_of_some_is_as_likely():
    mask, generator, hits = mask_of(range(3, 10)), seeded(), torch.zeros(40)
    for _ in range(1400):
        places, real = some(mask, 3, 3, generator)
        assert real.all()
        hits[places[0]] += 1
    assert hits.sum() == hits[3:10].sum() == 4200
    assert (hits[3:10] / 1400 - 3 / 7).abs().max() < 0.06


def test_picks_are_even_and_with_replacement():
    found = pick(mask_of((1, 5, 39), (7,)), 3000, seeded())
    assert (torch.bincount(found[0], minlength=40)[[1, 5, 39]] / 3000 - 1 / 3).abs().max() < 0.04
    assert set(found[1].tolist()) == {7}
    assert pick(mask_of(()), 4, seeded()).shape == (1, 4)


def test_one_stratum_is_the_naive_sampler():
    mask = mask_of(range(5, 25))
    found = stratified(mask, torch.zeros(40, dtype=torch.long), 1, 100, seeded())
    assert torch.equal(found, pick(mask, 100, seeded()))


@pytest.mark.parametrize("count", [3, 9, 10, 300])
def test_strata_get_equally_many_whatever_their_size(count):
    strata = torch.tensor([5] * 1 + [2] * 30 + [9] * 7)[torch.randperm(38, generator=seeded())]
    strata = torch.cat((strata, torch.tensor([2, 7])))
    mask = mask_of(range(38), (38,))
    found = stratified(mask, strata, 10, count, seeded(1))
    each = torch.bincount(strata[found[0]], minlength=10)
    assert each[[2, 5, 9]].sum() == count
    assert each[[2, 5, 9]].max() - each[[2, 5, 9]].min() <= 1
    assert each[5] >= 1
    assert set(found[1].tolist()) == {38}


def test_what_is_left_over_goes_to_every_stratum_in_turn():
    strata, mask = torch.tensor([0, 0, 1, 2]), torch.ones(1, 4, dtype=torch.bool)
    generator = seeded()
    taken = torch.stack(
        [torch.bincount(strata[stratified(mask, strata, 3, 1, generator)[0]], minlength=3)
         for _ in range(600)]
    )  # fmt: skip
    assert (taken.float().mean(0) - 1 / 3).abs().max() < 0.08


def test_equal_strata_give_the_mean_with_the_variance_of_the_strata_alone():
    """Naive: the variance of all values / n. Stratified: that within the strata / n."""
    values = torch.cat([level + torch.randn(25, generator=seeded(9)) for level in (0.0, 4.0, 8.0)])
    strata, mask = torch.arange(3).repeat_interleave(25), torch.ones(1500, 75, dtype=torch.bool)
    count, tries, generator = 6, 1500, seeded()
    within = values.view(3, 25).var(1, correction=0).mean().item()
    whole = values.var(correction=0).item()
    means = {}
    for name, number in (("naive", 1), ("stratified", 3)):
        means[name] = values[stratified(mask, strata, number, count, generator)].mean(1)
    for name, variance in (("naive", whole), ("stratified", within)):
        error = 4 * math.sqrt(variance / count / tries)
        assert means[name].mean().item() == pytest.approx(values.mean().item(), abs=error)
        assert means[name].var().item() == pytest.approx(variance / count, rel=0.15)
    assert within < whole / 4
