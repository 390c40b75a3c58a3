"""What contrast with regions is made of: draws, what is known, and queues."""

import numpy as np
import pytest
import torch

from contrabench.contracts.views import IGNORE
from contrabench.objectives.regions import (
    Known,
    QueueContrast,
    QueueRule,
    regions_of,
)

CPU = torch.device("cpu")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_regions_are_tiles_of_each_slice():
    found = regions_of(2, (4, 6), 2, CPU).view(2, 4, 6)
    for b in range(2):
        for y in range(4):
            for x in range(6):
                assert found[b, y, x] == b * 4 + (y // 2) * 2 + x // 3
    assert regions_of(3, (4, 4), 0, CPU).unique().tolist() == [0]


@pytest.mark.parametrize("part", [0.0, 0.2, 0.5, 1.0])
def test_what_is_known_by_entropy(part):
    uncertain = torch.rand(2, 4, 4, generator=seeded()).double()
    masks = torch.tensor([0, 1, 2, IGNORE] * 4).view(1, 4, 4)
    guessed = torch.randint(3, (2, 4, 4), generator=seeded())
    known = Known.by_entropy(masks, guessed, torch.rand(3, 3, 4, 4), uncertain, part)
    low, high = np.percentile(uncertain.numpy(), [100 * part, 100 - 100 * part])
    assert torch.equal(known.sure[:1], masks != IGNORE)
    assert torch.equal(known.unsure[:1], masks != IGNORE)
    assert known.sure[1:].sum().item() == (uncertain.numpy() <= low + 1e-12).sum()
    assert known.unsure[1:].sum().item() == (uncertain.numpy() >= high - 1e-12).sum()
    assert torch.equal(known.labels, torch.cat((masks, guessed)))
    assert known.labelled == 1


CLASSES, DIM, CELLS = 4, 5, 3
RULE = QueueRule(anchors=6, negatives=5, temperature=0.5, size=7, fresh=4)


def scene(labels=None, labelled=1, slices=2, seed=0, spread=2.0):
    """Maps in float64 with a gradient, and what is known of twice as fine slices."""
    generator = seeded(seed)
    shape = (slices, DIM, CELLS, CELLS)
    embedded, averaged = (torch.randn(shape, generator=generator).double() for _ in range(2))
    fine = (slices, 2 * CELLS, 2 * CELLS)
    shares = torch.randn(slices, CLASSES, *fine[1:], generator=generator).double()
    shares = torch.softmax(spread * shares, 1)
    if labels is None:
        drawn = torch.randint(CLASSES, fine, generator=generator)
        labels = shares.argmax(1).where(torch.rand(fine, generator=generator) < 0.6, drawn)
    sure, unsure = (torch.rand(fine, generator=generator) < 0.6 for _ in range(2))
    return embedded.requires_grad_(), averaged, Known(labels, shares, sure, unsure, labelled)


def filled(classes=CLASSES, rule=RULE, entries=3, seed=5):
    """A contrast whose queues hold some entries."""
    item = QueueContrast(classes, DIM, rule).double()
    keys = torch.randn(classes, entries, DIM, generator=seeded(seed)).double()
    real = torch.ones(classes, entries, dtype=torch.bool)
    item.queues.hold(torch.nn.functional.normalize(keys, dim=2), real)
    item.push()
    return item


def entries_of(queues):
    """What each of them holds."""
    return [memory[filled] for memory, filled in zip(queues.memory, queues.filled, strict=True)]


def cosine(a, b):
    return (a * b).sum() / (a.norm() * b.norm())


def literal(item, embedded, averaged, known, generator):
    """Loops over classes, anchors and negatives; the draws are those of `forward`, in its order."""
    rule, memories = item.rule, entries_of(item.queues)
    first, which, negative = (
        torch.randint(most, (CLASSES, count), generator=generator).tolist()
        for most, count in (
            (2**62, 1), (2**62, rule.anchors), (2**31, rule.anchors * rule.negatives)
        )
    )  # fmt: skip
    places = [(b, y, x) for b in range(len(embedded))
              for y in range(CELLS) for x in range(CELLS)]  # fmt: skip

    def label(p):
        return int(known.labels[p[0], 2 * p[1], 2 * p[2]])

    def share(p):
        return known.shares[p[0], :, 2 * p[1], 2 * p[2]].tolist()

    def flag(values, p):
        return bool(values[p[0], 2 * p[1], 2 * p[2]])

    total, present, entering = 0.0, 0, []
    for c in range(CLASSES):
        keys = []
        for p in places:
            rank = sum(other > share(p)[c] for other in share(p))
            free = p[0] >= known.labelled
            taken = rule.ranks[0] <= rank < rule.ranks[1] if free else rank < rule.ranks[0]
            if (flag(known.unsure, p) and label(p) not in (c, IGNORE) and taken
                    and share(p)[c] < rule.below):  # fmt: skip
                keys.append(averaged[p[0], :, p[1], p[2]])
        if len(keys) > rule.fresh:
            start = first[c][0] % len(keys)
            keys = [keys[(t * len(keys) + start) // rule.fresh] for t in range(rule.fresh)]
        entering.append(keys)
        members = [p for p in places if flag(known.sure, p) and label(p) == c]
        present += bool(members)
        anchors = [p for p in members if share(p)[c] > rule.certain]
        if not anchors or not len(memories[c]):
            continue
        mean = sum(averaged[p[0], :, p[1], p[2]] for p in members) / len(members)
        for number in range(rule.anchors):
            b, y, x = anchors[which[c][number] % len(anchors)]
            negatives = negative[c][number * rule.negatives : (number + 1) * rule.negatives]
            negatives = [drawn % len(memories[c]) for drawn in negatives]
            q = embedded[b, :, y, x]
            up = torch.exp(cosine(q, mean) / rule.temperature)
            down = sum(torch.exp(cosine(q, memories[c][n]) / rule.temperature) for n in negatives)
            total = total - torch.log(up / (up + down)) / rule.anchors
    return total / present, entering


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("labelled", [0, 1])
def test_the_contrast_with_queues(seed, labelled):
    embedded, averaged, known = scene(seed=seed, labelled=labelled)
    item = filled()
    wanted, entering = literal(item, embedded, averaged, known, seeded(3))
    found = item(embedded, averaged, known, seeded(3))
    assert found.item() == pytest.approx(wanted.item(), rel=1e-9)
    ours, theirs = (torch.autograd.grad(loss, embedded)[0] for loss in (found, wanted))
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-12)
    assert any(entering)
    before = entries_of(item.queues)
    item.push()
    for now, old, keys in zip(entries_of(item.queues), before, entering, strict=True):
        fresh = [key / key.norm() for key in keys]
        rows = sorted([*old.tolist(), *(key.tolist() for key in fresh)])
        found = torch.tensor(sorted(now.tolist()), dtype=torch.float64)
        torch.testing.assert_close(found, torch.tensor(rows, dtype=torch.float64))


def planted(guess, label=2, free=True, vague=True):
    """One pixel of probabilities `guess` among pixels without a label, and the queues it enters."""
    labels = torch.full((2, 2 * CELLS, 2 * CELLS), IGNORE)
    shares = torch.full((2, CLASSES, 2 * CELLS, 2 * CELLS), 1 / CLASSES).double()
    unsure = torch.ones(labels.shape, dtype=torch.bool)
    place = (1 if free else 0, 2, 4)
    labels[place], unsure[place] = label, vague
    shares[place[0], :, 2, 4] = torch.tensor(guess).double()
    averaged = torch.randn(2, DIM, CELLS, CELLS, generator=seeded()).double()
    key = torch.nn.functional.normalize(averaged[place[0], :, 1, 2], dim=0)

    def queues(**changed):
        item = QueueContrast(CLASSES, DIM, QueueRule(2, 2, 0.5, **changed)).double()
        known = Known(labels, shares, torch.ones_like(unsure), unsure, 1)
        item(torch.randn(2, DIM, CELLS, CELLS).double(), averaged, known, seeded())
        item.push()
        held = entries_of(item.queues)
        for entries in held:
            if len(entries):
                torch.testing.assert_close(entries, key[None])
        return [c for c, entries in enumerate(held) if len(entries)]

    return queues


def test_an_unreliable_pixel_enters_the_queues_of_what_it_is_not_and_ranks_high():
    queues = planted([0.3, 0.15, 0.35, 0.2])
    assert queues() == [0, 1, 3]
    assert queues(ranks=(1, 2)) == [0]
    assert queues(ranks=(2, 4)) == [1, 3]
    assert queues(ranks=(3, 20)) == [1]
    assert planted([0.3, 0.15, 0.35, 0.2], vague=False)() == []
    # The label may differ from the likeliest class: it came from the slice before it was mixed.
    assert planted([0.3, 0.15, 0.35, 0.2], label=1)() == [0, 3]


def test_a_labelled_pixel_enters_the_queue_of_the_wrong_class_it_is_taken_for():
    assert planted([0.1, 0.7, 0.15, 0.05], free=False)() == [1]
    assert planted([0.1, 0.7, 0.15, 0.05], free=False)(below=0.6) == []
    assert planted([0.1, 0.05, 0.7, 0.15], free=False)() == []


def test_empty_queues_give_zero_with_a_gradient_of_zero():
    embedded, averaged, known = scene()
    found = QueueContrast(CLASSES, DIM, RULE)(embedded, averaged, known, seeded())
    found.backward()
    assert found.item() == 0
    assert torch.equal(embedded.grad, torch.zeros_like(embedded))


def test_one_class_alone_gives_zero():
    labels = torch.full((2, 2 * CELLS, 2 * CELLS), 1)
    embedded, averaged, known = scene(labels)
    assert filled()(embedded, averaged, known, seeded()).item() == 0


def test_an_absent_class_does_not_shift_the_queues_of_others():
    """Class 1 is nowhere; what its queue holds changes nothing, that of class 3 all."""
    labels = torch.where(torch.rand(2, 6, 6, generator=seeded(2)) < 0.5, 0, 3)

    def loss(touched):
        embedded, averaged, known = scene(labels, spread=0.3)
        known.shares[:, 3] += 0.5
        item = filled()
        if touched is not None:
            item.queues.memory[touched] *= -1
        return item(embedded, averaged, known, seeded()).item()

    assert loss(1) == loss(2) == loss(None) != 0
    assert loss(3) != pytest.approx(loss(None), rel=1e-3)


def test_anchors_come_equally_from_regions_of_slices():
    """All of a class in one corner of one slice but for one pixel, which is half of the anchors."""
    labels = torch.zeros(2, 6, 6, dtype=torch.long)
    labels[0, :2, :] = labels[1, 4, 4] = 1
    embedded, averaged, known = scene(labels, labelled=2)
    known = Known(
        labels, torch.full_like(known.shares, 0.4), torch.ones_like(known.sure), known.unsure, 2
    )
    pulls = {}
    for per_axis in (0, 1):
        item = filled(rule=QueueRule(60, 5, 0.5, size=7, regions=per_axis))
        item.queues.seen[0] = 0
        (gradient,) = torch.autograd.grad(item(embedded, averaged, known, seeded()), embedded)
        pulls[per_axis] = gradient[1, :, 2, 2].norm().item()
    assert pulls[1] > 1.4 * pulls[0]
