"""UA-MT: its term as a loop over passes and pixels, its mask, and its kinship to mean teacher."""

import math

import pytest
import torch

from contrabench.contracts import registry

from .conftest import agree, exactly, image_normed, joint_task

cls, plain = registry.methods.get("ua_mt"), registry.methods.get("mean_teacher")
module = __import__(cls.__module__, fromlist=["x"])


def make_task(cases, kind=cls, **options):
    """A task whose student has moved away from its teacher."""
    task = joint_task(kind(kind.Options(**options)), cases, batch=2, net=image_normed())
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in task.common.model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
        for weight in task.objective.average.copied.buffers():
            weight.add_(0.5 * torch.randn_like(weight))
    return task.double()


def added(task, batch):
    """The term, without its weight."""
    return task.objective(task.common.model, batch, task.common.criterion).loss


def literal(task, batch, options):
    """Every pass, entropy and pixel by itself."""
    image, drawn = batch.streams[0].views[0].image, batch.generator("noise")
    teacher, student = task.objective.average.copied.eval(), task.common.model
    passes = []
    for _ in range(1 + options.passes):
        noise = options.noise * torch.randn(image.shape, generator=drawn)
        noise = noise.clamp(-2 * options.noise, 2 * options.noise)
        passes.append(teacher.logits(image + noise).exp())
    shares = [each / each.sum(1, keepdim=True) for each in passes]
    own = student.logits(image).exp()
    own = own / own.sum(1, keepdim=True)
    classes = 2 if options.literal else own.shape[1]
    limit = (0.75 + 0.25 * math.exp(-5 * (1 - batch.progress) ** 2)) * math.log(classes)
    total, kept, number = 0, 0, 0
    for b in range(len(image)):
        for h in range(0, image.shape[2]):
            for w in range(0, image.shape[3]):
                mean = [
                    sum(float(share[b, c, h, w]) for share in shares[1:]) / options.passes
                    for c in range(own.shape[1])
                ]
                number += 1
                if -sum(m * math.log(m + 1e-6) for m in mean) < limit:
                    kept += 1
                    gap = own[b, :, h, w] - shares[0][b, :, h, w]
                    total = total + gap.square().sum() / classes
    return total / max(1, kept), kept / number


@pytest.mark.parametrize("is_literal", [False, True])
def test_the_term_is_its_definition(cases, is_literal):
    options = cls.Options(passes=2, noise=0.5, literal=is_literal)
    task = make_task(cases, **options.model_dump())
    batch = exactly(task.batch(3, 0, 1))
    # So that an untrained network is certain of something, whatever noise is drawn.
    with torch.no_grad():
        for network in (task.common.model, task.objective.average.copied):
            network.heads[0].weight.mul_(4)
    expected, share = literal(task, batch, options)
    assert 0.02 < share < 0.98
    result = task.objective(task.common.model, batch, task.common.criterion)
    assert float(result.logs["certain"]) == pytest.approx(share)
    agree(result.loss, expected, list(task.common.model.heads.parameters()), rel=1e-4)


def test_where_all_is_certain_it_is_mean_teacher(cases, monkeypatch):
    """The target's noise is the first that is drawn, as it is there."""
    monkeypatch.setattr(module, "entropy", lambda shares: torch.zeros_like(shares[:, 0]))
    known = make_task(cases, kind=plain)
    batch = exactly(known.batch(1, 0, 1))
    expected = added(known, batch).item()
    assert added(make_task(cases, passes=1), batch).item() == pytest.approx(expected)
    # The authors divide the sum over three classes here by two.
    found = added(make_task(cases, passes=1, literal=True), batch).item()
    assert found == pytest.approx(3 / 2 * expected)


def test_a_teacher_that_knows_nothing_teaches_nothing(cases):
    task = make_task(cases, passes=2)
    for value in task.objective.average.copied.heads.buffers():
        value.zero_()
    batch = exactly(task.batch(0, 0, 1))
    result = task.objective(task.common.model, batch, task.common.criterion)
    assert (result.loss.item(), result.logs["certain"].item()) == (0, 0)
    grads = torch.autograd.grad(result.loss, list(task.common.model.heads.parameters()))
    assert not any(bool(grad.any()) for grad in grads)


def test_entropy():
    shares = torch.softmax(torch.randn(2, 4, 3, 3, dtype=torch.float64), dim=1)
    found = module.entropy(shares)
    assert found[1, 2, 0].item() == pytest.approx(
        -sum(p * math.log(p) for p in shares[1, :, 2, 0].tolist()), abs=1e-5
    )
    even = torch.full((1, 4, 1, 1), 0.25)
    assert module.entropy(even).item() == pytest.approx(math.log(4), abs=1e-4)


def test_it_weighs_as_mean_teacher_does(cases):
    weights = [make_task(cases, kind=kind, weight=0.4).objective.weight_at for kind in (cls, plain)]
    assert [weights[0](r) for r in (0, 0.3, 1)] == [weights[1](r) for r in (0, 0.3, 1)]
