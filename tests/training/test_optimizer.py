"""Each optimiser against its update rule, for one matrix and one vector; the schedule."""

import math

import pytest
import torch
from torch import nn

from contrabench.protocol import Pace, Phase
from contrabench.training.optimizer import Group, build_optimizer, set_rates

PHASE = Phase(images=1600, batch=16, lr=2e-3, warmup=0.1)
LR, DECAY, MOMENTUM = 0.1, 0.01, 0.8


def follow(kind, steps=3):
    """Weights after some steps on fixed gradients, and the gradients."""
    torch.manual_seed(0)
    start = [torch.randn(3, 2), torch.randn(3)]
    gradients = [[torch.randn_like(w) for w in start] for _ in range(steps)]
    weights = [nn.Parameter(w.clone()) for w in start]
    phase = Phase(images=1, batch=1, lr=LR, optimizer=kind, momentum=MOMENTUM, weight_decay=DECAY)
    optimizer = build_optimizer([Group(weights, phase.rate)], phase)
    for step in gradients:
        for weight, gradient in zip(weights, step, strict=True):
            weight.grad = gradient.clone()
        optimizer.step()
    return start, gradients, [w.detach() for w in weights]


def sgd(w, gradients, scale):
    velocity = torch.zeros_like(w)
    for gradient in gradients:
        velocity = MOMENTUM * velocity + scale(w, gradient)
        w = w - LR * velocity
    return w


def adam(w, gradients, decoupled):
    first, second = torch.zeros_like(w), torch.zeros_like(w)
    for step, plain in enumerate(gradients, 1):
        gradient = plain if decoupled else plain + DECAY * w
        if decoupled:
            w = w * (1 - LR * DECAY)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        move = (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
        w = w - LR * move
    return w


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd"])
def test_all_weights_alike(kind):
    start, gradients, found = follow(kind)
    for number, weight in enumerate(start):
        own = [step[number] for step in gradients]
        if kind == "sgd":
            expected = sgd(weight, own, lambda w, g: g + DECAY * w)
        else:
            expected = adam(weight, own, decoupled=kind == "adamw")
        torch.testing.assert_close(found[number], expected, rtol=1e-5, atol=1e-6)


def test_lars_scales_matrices_and_leaves_vectors_alone():
    start, gradients, found = follow("lars")

    def scaled(w, g):
        trust = 0.001 * w.norm() / (g.norm() + DECAY * w.norm())
        return trust * (g + DECAY * w)

    for number, rule in ((0, scaled), (1, lambda w, g: g)):
        expected = sgd(start[number], [step[number] for step in gradients], rule)
        torch.testing.assert_close(found[number], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("decay", [0.0, 1e-4])
def test_a_step_of_lars_in_closed_form_whether_or_not_weights_decay(decay):
    """You et al., section 4: a local rate of trust |w| / (|g| + decay |w|)."""
    torch.manual_seed(0)
    start, gradient = torch.randn(2, 4, 3, dtype=torch.float64)
    weight = nn.Parameter(start.clone())
    phase = Phase(images=1, batch=1, lr=LR, optimizer="lars", weight_decay=decay)
    weight.grad = gradient.clone()
    build_optimizer([Group([weight], phase.rate)], phase).step()
    local = 0.001 * start.norm() / (gradient.norm() + decay * start.norm())
    moved = -LR * local * (gradient + decay * start)
    torch.testing.assert_close(weight.detach() - start, moved, rtol=1e-6, atol=0.0)


def test_lars_of_vectors_alone():
    weight = nn.Parameter(torch.ones(2))
    phase = Phase(images=1, batch=1, lr=LR, optimizer="lars")
    assert len(build_optimizer([Group([weight], phase.rate)], phase).param_groups) == 1


def test_rate_rises_to_the_peak_and_falls_to_nothing():
    rates = [PHASE.rate(step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([2e-3 * (k + 1) / 10 for k in range(10)])
    assert rates[10] == pytest.approx(2e-3)
    assert rates[55] == pytest.approx(1e-3)
    assert 0 < rates[-1] < 1e-5
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_no_warm_up_and_one_step():
    phase = PHASE.model_copy(update={"warmup": 0.0})
    assert phase.rate(0, 1) == pytest.approx(2e-3)
    assert phase.rate(3, 4) == pytest.approx(2e-3 * (1 + math.cos(0.75 * math.pi)) / 2)


def test_a_constant_rate_only_warms_up():
    phase = PHASE.model_copy(update={"schedule": "constant"})
    rates = [phase.rate(step, 100) for step in range(100)]
    assert rates[:10] == [PHASE.rate(step, 100) for step in range(10)]
    assert set(rates[10:]) == {2e-3}


@pytest.mark.parametrize("kind", ["adamw", "lars"])
def test_every_group_has_its_own_rate(kind):
    """LARS splits each group once more, into matrices and vectors."""
    phase = PHASE.model_copy(update={"optimizer": kind})
    layers = [nn.Linear(2, 3), nn.Linear(2, 3)]
    groups = [
        Group(list(layers[0].parameters()), lambda step, steps: step / steps),
        Group(list(layers[1].parameters()), lambda step, steps: 1.0),
    ]
    optimizer = build_optimizer(groups, phase)
    set_rates(optimizer, groups, (3, 12))
    found = {id(p): part["lr"] for part in optimizer.param_groups for p in part["params"]}
    assert {found[id(p)] for p in layers[0].parameters()} == {0.25}
    assert {found[id(p)] for p in layers[1].parameters()} == {1.0}


def rates_of(handed, **pace):
    return [Pace(**pace).rate(PHASE, handed, step, 100) for step in range(100)]


COMMON = [PHASE.rate(step, 100) for step in range(100)]


def test_gentle_is_a_tenth_for_what_was_handed_over_alone():
    assert rates_of(True, rates="gentle") == pytest.approx([rate / 10 for rate in COMMON])
    assert rates_of(False, rates="gentle") == rates_of(True) == COMMON


def test_the_courses_of_rates():
    assert rates_of(False, course="frozen_first") == COMMON
    assert rates_of(True, course="frozen_first") == [0.0] * 25 + COMMON[25:]
    long = rates_of(True, course="warmup")
    assert long == rates_of(False, course="warmup")
    assert long[:25] == pytest.approx([2e-3 * (k + 1) / 25 for k in range(25)])
    # Two teeth: new parts rise alone for ten steps, then all rise for nine of the other ninety.
    new, old = (rates_of(handed, course="sawtooth", rates="gentle") for handed in (False, True))
    assert new[:10] == pytest.approx([2e-4 * (k + 1) for k in range(10)])
    assert old[:10] == [0.0] * 10
    assert new[10:] == [PHASE.rate(step, 90) for step in range(90)]
    assert old[10:] == pytest.approx([rate / 10 for rate in new[10:]])


def test_lars_is_lightlys_where_all_gradients_are_other_than_zero():
    lars = pytest.importorskip("lightly.utils.lars").LARS
    torch.manual_seed(1)
    start = [torch.randn(shape, dtype=torch.float64) for shape in ((3, 2), (4, 2, 3, 3))]
    ours, theirs = ([nn.Parameter(w.clone()) for w in start] for _ in range(2))
    phase = Phase(images=1, batch=1, lr=LR, optimizer="lars", weight_decay=DECAY)
    both = (
        (ours, build_optimizer([Group(ours, phase.rate)], phase)),
        (theirs, lars(theirs, lr=LR, momentum=phase.momentum, weight_decay=DECAY)),
    )
    for _ in range(4):
        gradients = [torch.randn_like(w) for w in start]
        for weights, optimizer in both:
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient.clone()
            optimizer.step()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=0)


def test_a_layer_of_zeros_begins_to_move_under_lars():
    weight = nn.Parameter(torch.zeros(2, 2))
    phase = Phase(images=1, batch=1, lr=LR, optimizer="lars")
    optimizer = build_optimizer([Group([weight], phase.rate)], phase)
    weight.grad = torch.ones(2, 2)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.full((2, 2), -LR))
