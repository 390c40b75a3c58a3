"""BCP: squares, pieces and region losses by hand, and mixtures that mix nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from contrabench.contracts import registry
from contrabench.contracts.views import IGNORE

from .conftest import agree, exactly, joint_task

cls = registry.methods.get("bcp")
module = __import__(cls.__module__, fromlist=["x"])


def make_task(cases, number, batch=4, others=None, **options):
    method = cls(cls.Options(**options))
    stage = method.joint_stages()[number]
    task = joint_task(method, cases, batch=batch, stage=stage, others=others)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in heads(task):
            weight.add_(torch.randn_like(weight))
    return task


def heads(task):
    return list(task.common.model.heads.parameters())


# -- its parts ------------------------------------------------------------------------


def literal_loss(logits, labels, where):
    """Half of cross-entropy and Dice of one region, pixel by pixel."""
    total, number, both, size = 0, 0, 0, 0
    for b in range(len(labels)):
        for h, w in where.nonzero().tolist():
            mark = int(labels[b, h, w])
            if mark == IGNORE:
                continue
            values = logits[b, :, h, w].double().exp()
            shares = values / values.sum()
            hits = torch.zeros(len(shares))
            hits[mark] = 1
            total, number = total - shares[mark].log(), number + 1
            both, size = both + shares * hits, size + shares**2 + hits
    dice = 1 - ((2 * both + 1e-5) / (size + 1e-5)).mean()
    return 0.5 * (total / number + dice)


def test_the_loss_of_regions_is_its_definition():
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    outer, inner = torch.randint(3, (2, 2, 6, 6))
    outer[0, 0, 0] = inner[1, 3, 3] = IGNORE
    inside = torch.zeros(6, 6, dtype=torch.bool)
    inside[2:5, 1:5] = True
    found = module.region_losses(logits, ((outer, ~inside, 1.0), (inner, inside, 0.5)))
    expected = literal_loss(logits, outer, ~inside) + 0.5 * literal_loss(logits, inner, inside)
    agree(found, expected, [logits], rel=1e-4)


@pytest.mark.parametrize(("side", "share"), [(256, 2 / 3), (32, 2 / 3), (32, 0.0), (32, 1.0)])
def test_a_square_has_the_authors_side_and_lies_anywhere_inside(side, share):
    drawn = torch.Generator().manual_seed(0)
    corners = set()
    for _ in range(60):
        inside = module.square(side, share, drawn)
        length = int(share * side)
        assert int(inside.sum()) == length**2
        if length:
            rows, columns = inside.nonzero().T
            corners.add((int(rows.min()), int(columns.min())))
            assert int(rows.max() - rows.min()) == int(columns.max() - columns.min()) == length - 1
    if side == 256:
        assert int(share * side) == 170
        assert max(max(corner) for corner in corners) <= 86
    assert len(corners) > 25 if 0 < share < 1 else len(corners) <= 1


def largest(labels):
    """Each class flooded from each of its pixels over all eight neighbours."""
    found = np.zeros_like(labels)
    for value in range(1, labels.max() + 1):
        left, best = {tuple(place) for place in np.argwhere(labels == value)}, set()
        while left:
            piece, front = set(), [next(iter(sorted(left)))]
            while front:
                y, x = front.pop()
                if (y, x) in left:
                    left.remove((y, x))
                    piece.add((y, x))
                    front += [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
            if len(piece) > len(best):
                best = piece
        for place in best:
            found[place] = value
    return found


def test_of_each_class_the_largest_piece_stays():
    rng = np.random.default_rng(0)
    labels = rng.choice(4, (6, 12, 12), p=[0.7, 0.1, 0.1, 0.1])
    found = module.largest_pieces(torch.from_numpy(labels))
    for number, slice_ in enumerate(labels):
        own = found[number].numpy()
        expected = largest(slice_)
        for value in range(1, 4):
            # Of pieces that are equally large either may stay.
            assert (own == value).sum() == (expected == value).sum()
            assert (slice_[own == value] == value).all()
    # Pieces that touch at a corner are one.
    corner = torch.eye(5, dtype=torch.long)[None]
    assert torch.equal(module.largest_pieces(corner), corner)
    assert not module.largest_pieces(torch.zeros(1, 4, 4, dtype=torch.long)).any()


# -- its steps ------------------------------------------------------------------------


def parts_of(task, batch):
    """What the definition names: known and guessed slices, the square."""
    view = batch.labelled.views[0]
    inside = module.square(view.image.shape[2], task.objective.options.side,
                           batch.generator("square"))  # fmt: skip
    free = batch.streams[0].views[0].image if batch.streams else None
    return view.image, view.label.long(), free, inside


def test_both_mixtures_are_their_definition(cases):
    task = make_task(cases, 1, side=0.5, unlabelled=0.3).double()
    batch = exactly(task.batch(0, 0, 1))
    model = task.common.model
    x, y, u, inside = parts_of(task, batch)
    guess = torch.from_numpy(
        np.stack([largest(each) for each in task.objective.average.logits(u).argmax(1).numpy()])
    )
    within, around = u[:2].clone(), x[2:].clone()
    for h, w in inside.nonzero().tolist():
        within[:, :, h, w], around[:, :, h, w] = x[:2, :, h, w], u[2:, :, h, w]
    a, b = model.logits(within), model.logits(around)
    expected = literal_loss(a, y[:2], inside) + 0.3 * literal_loss(a, guess[:2], ~inside)
    expected = expected + literal_loss(b, y[2:], ~inside) + 0.3 * literal_loss(b, guess[2:], inside)
    result = task(batch)
    assert set(result.logs) == set()
    agree(result.loss, expected, heads(task), rel=1e-4)


def test_labelled_slices_are_mixed_with_each_other_first(cases):
    task = make_task(cases, 0).double()
    batch = exactly(task.batch(0, 0, 1))
    x, y, _, inside = parts_of(task, batch)
    mixed = x[:2].clone()
    for h, w in inside.nonzero().tolist():
        mixed[:, :, h, w] = x[2:, :, h, w]
    logits = task.common.model.logits(mixed)
    expected = literal_loss(logits, y[:2], ~inside) + literal_loss(logits, y[2:], inside)
    agree(task(batch).loss, expected, heads(task), rel=1e-4)


def seen_by(task, batch):
    """The images that the student is given."""
    images = []
    net = task.common.model.backbone
    hook = net.register_forward_pre_hook(lambda _, given: images.append(given[0]))
    task(batch)
    hook.remove()
    return images


def test_a_slice_that_is_mixed_with_itself_is_itself(cases):
    task = make_task(cases, 0)
    batch = task.batch(0, 0, 1)
    (view,) = batch.labelled.views
    twice = [value[:2].repeat(2, *[1] * (value.ndim - 1)) for value in (view.image, view.masks)]
    view = replace(view, image=twice[0], masks=twice[1])
    batch = replace(batch, labelled=replace(batch.labelled, views=(view,)))
    (shown,) = seen_by(task, batch)
    assert torch.equal(shown, twice[0][:2])


def test_without_a_square_one_mixture_is_labelled_and_the_other_is_not(cases):
    task = make_task(cases, 1, side=0.0)
    batch = task.batch(0, 0, 1)
    x, y, u, _ = parts_of(task, batch)
    first, second = seen_by(task, batch)
    assert torch.equal(first, u[:2])
    assert torch.equal(second, x[2:])
    everywhere = torch.ones(x.shape[2:], dtype=torch.bool)
    model = task.common.model
    guess = module.largest_pieces(task.objective.average.logits(u).argmax(1))
    expected = 0.5 * literal_loss(model.logits(u[:2]), guess[:2], everywhere)
    expected = expected + literal_loss(model.logits(x[2:]), y[2:], everywhere)
    assert task(batch).loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_square_that_is_the_slice_turns_them_round(cases):
    task = make_task(cases, 1, side=1.0)
    batch = task.batch(0, 0, 1)
    x, _, u, _ = parts_of(task, batch)
    first, second = seen_by(task, batch)
    assert torch.equal(first, x[:2])
    assert torch.equal(second, u[2:])


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_the_teacher_matters_as_far_as_its_labels_weigh(cases, weight):
    task = make_task(cases, 1, unlabelled=weight)
    batch = task.batch(0, 0, 1)
    before = task(batch).loss.item()
    for value in task.objective.average.copied.heads.buffers():
        value.neg_()
    assert (task(batch).loss.item() == before) == (weight == 0)


@pytest.mark.parametrize(("batch", "others"), [(5, 1), (3, 8)])
def test_every_slice_that_is_drawn_is_shown(cases, batch, others):
    task = make_task(cases, 1, batch=batch, others=others, side=0.5)
    drawn = task.batch(0, 0, 1)
    x, _, u, inside = parts_of(task, drawn)
    count = max(batch, others)
    shown = torch.cat(seen_by(task, drawn))
    assert len(shown) == 2 * ((count + 1) // 2)
    # Each is to be found in the square of a mixture, or around it.
    for image in (*x, *u):
        found = [
            torch.equal(each[:, where], image[:, where])
            for each in shown
            for where in (inside, ~inside)
        ]
        assert any(found)


def test_its_stages_share_the_steps_and_the_second_alone_has_a_teacher(cases):
    first, second = cls(cls.Options(first=0.2)).joint_stages()
    assert (first.streams, len(second.streams)) == ((), 1)
    assert (first.share, second.share) == (0.2, 0.8)
    assert make_task(cases, 0).objective.teacher() is None
    assert make_task(cases, 1).objective.teacher() is not None
