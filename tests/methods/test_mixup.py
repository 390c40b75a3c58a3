"""MixUp: blended by hand, its share's distribution, and the share at which it is scratch."""

import pytest
import torch
from scipy import stats

from contrabench.contracts import registry

from .conftest import agree, batch_normed, exactly, finetune_task, joint_task, take_steps

cls = registry.methods.get("mixup")
module = __import__(cls.__module__, fromlist=["x"])


def make_task(cases, net=None, **options):
    return joint_task(cls(cls.Options(**options)), cases, batch=4, net=net)


def test_losses_are_blended_as_images_are(cases, monkeypatch):
    monkeypatch.setattr(module, "beta", lambda alpha, generator: 0.3)
    task = make_task(cases).double()
    batch = exactly(task.batch(0, 0, 1))
    view, model = batch.labelled.views[0], task.common.model
    order = [3, 0, 1, 2]
    mixed = torch.stack([0.3 * view.image[i] + 0.7 * view.image[order[i]] for i in range(4)])
    logits = model(mixed)
    own, other = view.label.long(), view.label.long()[order]
    loss = 0.3 * task.common.criterion(logits, own) + 0.7 * task.common.criterion(logits, other)
    agree(task(batch).loss, loss, list(model.heads.parameters()))


def test_a_share_of_one_is_scratch_in_every_bit(cases, monkeypatch):
    monkeypatch.setattr(module, "beta", lambda alpha, generator: 1.0)
    task = make_task(cases, net=batch_normed())
    scratch = finetune_task(cases, 4, net=batch_normed())
    take_steps(task)
    take_steps(scratch)
    own, other = task.common.model.state_dict(), scratch.model.state_dict()
    assert all(torch.equal(value, other[name]) for name, value in own.items())


def test_a_share_of_none_is_another_order(cases, monkeypatch):
    monkeypatch.setattr(module, "beta", lambda alpha, generator: 0.0)
    task = make_task(cases)
    batch = task.batch(0, 0, 1)
    # The loss of a batch does not depend on the order of its slices.
    assert task(batch).loss.item() == pytest.approx(task.common(batch.labelled).loss.item())


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0, 4.0])
def test_the_share_is_of_the_beta_distribution(alpha):
    drawn = torch.Generator().manual_seed(0)
    shares = [module.beta(alpha, drawn) for _ in range(800)]
    assert stats.kstest(shares, stats.beta(alpha, alpha).cdf).pvalue > 0.01
    assert stats.kstest(shares, stats.beta(2 * alpha, alpha).cdf).pvalue < 1e-6


def test_every_step_draws_another_share(cases, monkeypatch):
    seen, real = [], module.beta

    def noting(alpha, generator):
        seen.append(real(alpha, generator))
        return seen[-1]

    monkeypatch.setattr(module, "beta", noting)
    task = make_task(cases, alpha=1.0)
    for step in (0, 1, 0):
        task(task.batch(step, 0, 1))
    assert seen[0] == seen[2] != seen[1]
