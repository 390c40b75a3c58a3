"""ReCo: both of its terms as loops, its bounds, and who gets a gradient."""

import math

import pytest
import torch
from torch.nn import functional

from contrabench.contracts import registry
from contrabench.contracts.views import IGNORE

from .conftest import agree, joint_task

cls = registry.methods.get("reco")
module = __import__(cls.__module__, fromlist=["x"])
SMALL = cls.Options(queries=7, negatives=11)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def example(seed=0, classes=3, dim=5):
    """Embeddings on a grid of half the side, labels with holes, and probabilities."""
    torch.manual_seed(seed)
    embedded = torch.randn(2, dim, 4, 4, dtype=torch.float64)
    labels = torch.randint(classes, (2, 8, 8))
    labels[0, :2] = IGNORE
    shares = torch.softmax(2 * torch.randn(2, classes, 8, 8, dtype=torch.float64), 1)
    return embedded, labels, shares


def contrast(embedded, labels, shares, options=SMALL, seed=0):
    return module.regional_contrast(embedded, labels, shares, options, generator(seed))


def cosine(a, b):
    return (a * b).sum() / (a.norm() * b.norm())


def literal(embedded, labels, shares, options, drawn):
    """Class by class, query by query, key by key; random numbers in the order of the code."""
    places = [(b, h, w) for b in range(2) for h in range(4) for w in range(4)]
    mark = {p: int(labels[p[0], 2 * p[1], 2 * p[2]]) for p in places}
    cell = {p: embedded[p[0], :, p[1], p[2]] for p in places}
    classes = [c for c in range(shares.shape[1]) if c in mark.values()]
    members = {c: [p for p in places if mark[p] == c] for c in classes}
    means = {c: torch.stack([cell[p].detach() for p in members[c]]).mean(0) for c in classes}
    total, number, count = 0, shares.shape[1], options.queries * options.negatives
    first = torch.randint(2**62, (number, options.queries), generator=drawn).tolist()
    later = [torch.rand(2, count, generator=drawn).mul(1 - 1e-6).tolist() for _ in range(number)]
    for c in classes:
        hard = [
            p for p in members[c] if shares[p[0], c, 2 * p[1], 2 * p[2]].item() < options.strong
        ]
        if not hard:
            continue
        others = [o for o in classes if o != c]
        weights = [math.exp(cosine(means[c], means[o]).item() / options.temperature)
                   for o in others]  # fmt: skip
        keys = []
        for which, where in zip(*later[c], strict=True):
            shares_before = [sum(weights[: k + 1]) / sum(weights) for k in range(len(others))]
            pool = members[others[sum(which >= bound for bound in shares_before)]]
            keys.append(cell[pool[int(where * len(pool))]].detach())
        for number, place in enumerate(first[c]):
            q = cell[hard[place % len(hard)]]
            own = torch.exp(cosine(q, means[c]) / options.temperature)
            mine = keys[number * options.negatives : (number + 1) * options.negatives]
            rest = sum(torch.exp(cosine(q, key) / options.temperature) for key in mine)
            total = total - torch.log(own / (own + rest)) / options.queries
    return total / len(classes)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_contrast_is_its_definition(seed):
    embedded, labels, shares = example(seed)
    embedded.requires_grad_()
    found = contrast(embedded, labels, shares, seed=seed)
    expected = literal(embedded, labels, shares, SMALL, generator(seed))
    agree(found, expected, [embedded])


def test_keys_and_means_take_no_gradient():
    """Where one cell alone is uncertain, it alone has a gradient."""
    embedded, labels, shares = example()
    embedded.requires_grad_()
    shares = torch.full_like(shares, 0.99)
    shares[1, :, 2, 4] = 0.5
    (grad,) = torch.autograd.grad(contrast(embedded, labels, shares), embedded)
    moved = grad.abs().sum(1)
    assert moved[1, 1, 2] > 0
    assert int((moved > 0).sum()) == 1


def test_with_one_class_or_without_a_query_it_is_nothing():
    embedded, labels, shares = example()
    embedded.requires_grad_()
    certain = cls.Options(strong=0.0, queries=3, negatives=3)
    for loss in (
        contrast(embedded, torch.where(labels == IGNORE, IGNORE, 1), shares),
        contrast(embedded, torch.full_like(labels, IGNORE), shares),
        contrast(embedded, labels, shares, certain),
    ):
        assert loss.item() == 0
        assert not torch.autograd.grad(loss, embedded)[0].any()


def test_the_value_lies_between_its_bounds_and_reaches_the_lower_one():
    options = cls.Options()
    low, high = (math.log(1 + 512 * math.exp(sign * 4)) for sign in (-1, 1))
    shares = torch.full((2, 2, 8, 8), 0.5)
    labels = torch.zeros(2, 8, 8, dtype=torch.long)
    labels[1] = 1
    for seed in range(3):
        torch.manual_seed(seed)
        value = contrast(torch.randn(2, 5, 4, 4), labels, shares, options, seed).item()
        assert low < value < high
    apart = torch.zeros(2, 5, 4, 4)
    apart[0, 0], apart[1, 0] = 1, -1
    assert contrast(apart, labels, shares, options).item() == pytest.approx(low, rel=1e-5)


def test_negatives_come_from_the_classes_that_are_alike():
    """Of two other classes the one whose mean is the query's own class's is drawn e^4 as often."""
    labels = torch.zeros(2, 8, 8, dtype=torch.long)
    labels[0, 4:], labels[1] = 1, 2
    embedded = torch.zeros(2, 2, 4, 4, dtype=torch.float64)
    embedded[0, 0], embedded[1, 0] = 1, -1
    shares = torch.full((2, 3, 8, 8), 0.99)
    shares[:, 0] = 0.5
    options = cls.Options(queries=100, negatives=500)
    value = contrast(embedded, labels, shares, options).item()
    share = 1 / (1 + math.exp(-4))
    keys = 500 * (share * math.exp(2) + (1 - share) * math.exp(-2))
    expected = math.log(1 + keys / math.exp(2)) / 3
    assert value == pytest.approx(expected, rel=2e-3)


def test_an_images_entropy_counts_by_its_share_of_confident_pixels():
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    labels, sure = torch.randint(3, (2, 4, 4)), torch.rand(2, 4, 4)

    def by_hand():
        total, number = 0, 0
        for b in range(2):
            share = sum(float(value) >= 0.6 for value in sure[b].flatten()) / 16
            for h in range(4):
                for w in range(4):
                    values = logits[b, :, h, w]
                    loss = values.exp().sum().log() - values[int(labels[b, h, w])]
                    total, number = total + share * loss, number + (loss.item() > 0)
        return total / number

    agree(module.weighted_entropy(logits, labels, sure, 0.6), by_hand(), [logits])
    unsure = torch.stack((sure[0], torch.zeros(4, 4)))
    share = float((sure[0] >= 0.6).double().mean())
    # The pixels of an image without a confident one weigh nothing, and are counted.
    expected = share * functional.cross_entropy(logits[:1], labels[:1]).item() / 2
    found = module.weighted_entropy(logits, labels, unsure, 0.6)
    assert found.item() == pytest.approx(expected, rel=1e-6)
    assert module.weighted_entropy(logits, labels, 0 * sure, 0.6).item() == 0


def test_both_terms_and_the_labelled_slices_take_part(cases, monkeypatch):
    given = {}

    def note(embedded, labels, shares, options, drawn):
        given.update(embedded=embedded, labels=labels, shares=shares)
        return embedded.sum() * 0 + 3

    monkeypatch.setattr(module, "regional_contrast", note)
    task = joint_task(cls(cls.Options(weak=0.4)), cases, batch=4, others=3)
    batch = task.batch(0, 0, 1)
    loss = task.objective(task.common.model, batch, task.common.criterion).loss
    assert loss.item() >= 3
    view = batch.labelled.views[0]
    side = view.image.shape[2]
    assert given["embedded"].shape == (7, 64, side // 2, side // 2)
    assert torch.equal(given["labels"][:4], view.label.long())
    assert torch.equal(
        given["shares"][:4], torch.softmax(task.common.model.logits(view.image), 1).detach()
    )
    assert not given["shares"].requires_grad
    # Pixels of which the teacher is not sure are nobody's.
    assert (given["labels"][4:] != IGNORE).any()
    task.objective.options = cls.Options(weak=1.0)
    task.objective(task.common.model, batch, task.common.criterion)
    assert (given["labels"][4:] == IGNORE).all()


def test_the_head_is_trained_and_the_weight_is_constant(cases):
    task = joint_task(cls(cls.Options(weight=0.3)), cases, batch=4)
    task(task.batch(0, 0, 1)).loss.backward()
    assert all(bool(p.grad.any()) for p in task.objective.head.parameters() if p.ndim > 1)
    assert task.objective.weight_at(0.0) == task.objective.weight_at(0.9) == 0.3
