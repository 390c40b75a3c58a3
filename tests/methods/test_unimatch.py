"""UniMatch: its three terms as loops, the dropped channels, and its limits."""

from dataclasses import replace

import pytest
import torch

from contrabench.contracts import registry
from contrabench.objectives.consistency import boxes

from .conftest import agree, exactly, halfway, joint_task

cls = registry.methods.get("unimatch")
module = __import__(cls.__module__, fromlist=["x"])


def make_task(cases, batch=4, **options):
    task = joint_task(cls(cls.Options(**options)), cases, batch=batch)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in heads(task):
            weight.add_(torch.randn_like(weight))
    return task


def heads(task):
    return list(task.common.model.heads.parameters())


def added(task, batch):
    return task.objective(task.common.model, batch, task.common.criterion)


def dice(logits, marks, kept):
    """Pixel by pixel, for each class by itself; squared denominators."""
    both, size = 0, 0
    for b, h, w in kept.nonzero().tolist():
        shares = logits[b, :, h, w].exp()
        shares = shares / shares.sum()
        hits = torch.zeros(len(shares))
        hits[int(marks[b, h, w])] = 1
        both, size = both + shares * hits, size + shares**2 + hits
    each = [1 - (2 * both[c] + 1e-5) / (size[c] + 1e-5) for c in range(logits.shape[1])]
    return sum(each) / len(each)


def by_hand(task, batch, options):
    """The weighted sum, and the share of confident pixels."""
    model = task.common.model
    net = model.backbone
    weak, *strong = (view.image for view in batch.streams[0].views)
    shares = torch.softmax(model.logits(weak).detach(), 1)
    sure, marks = shares.max(1)
    maps, drawn = net.features(weak, net.encoder), batch.generator("dropout")
    for name in net.encoder:
        gate = torch.rand(maps[name].shape[:2], generator=drawn) >= options.dropout
        for b in range(len(weak)):
            for c in range(maps[name].shape[1]):
                factor = float(gate[b, c]) / (1 - options.dropout)
                maps[name] = maps[name].clone()
                maps[name][b, c] = maps[name][b, c] * factor
    x = maps["centre"]
    for level in (4, 3, 2, 1):
        layers = getattr(net, f"dec{level}")
        x = layers["up"](x) if "up" in layers else net.centre_up(x)
        x = layers["block"](torch.cat((x, maps[f"enc{level}"]), 1))
    disturbed = model.heads[0](x)
    terms = [options.dropped * dice(disturbed, marks, sure >= options.threshold)]
    for number, image in enumerate(strong):
        box = boxes(
            len(weak), tuple(weak.shape[2:]), batch.generator(f"cutmix {number}"), options.cutmix
        )
        shown, told, kept = image.clone(), marks.clone(), sure.clone()
        for b, h, w in box.nonzero().tolist():
            shown[b, :, h, w] = image[b - 1, :, h, w]
            told[b, h, w], kept[b, h, w] = marks[b - 1, h, w], sure[b - 1, h, w]
        logits = model.logits(shown).double()
        terms.append(options.strong * dice(logits, told, kept >= options.threshold))
    return sum(terms), float((sure >= options.threshold).double().mean())


def test_the_term_is_its_definition(cases):
    task = make_task(cases, batch=2).double()
    batch = exactly(task.batch(1, 0, 1))
    threshold = halfway(task.common.model.logits(batch.streams[0].views[0].image))
    options = cls.Options(threshold=threshold, cutmix=0.7, strong=0.4, dropped=0.9)
    task.objective.options = options
    expected, share = by_hand(task, batch, options)
    assert 0.1 < share < 0.9
    result = added(task, batch)
    assert float(result.logs["confident"]) == pytest.approx(share)
    agree(result.loss, expected, heads(task), rel=1e-4)


def test_above_every_probability_all_terms_are_zero(cases):
    task = make_task(cases, threshold=1.1)
    loss = added(task, task.batch(0, 0, 1)).loss
    assert loss.item() == 0
    assert not any(bool(grad.any()) for grad in torch.autograd.grad(loss, heads(task)))


def watch(monkeypatch):
    """The logits, labels and values of every Dice that is computed."""
    seen, real = [], module.masked_dice

    def noting(logits, labels, kept):
        value = real(logits, labels, kept)
        seen.append((logits.detach(), labels, kept, value.detach()))
        return value

    monkeypatch.setattr(module, "masked_dice", noting)
    return seen


def test_without_dropout_the_disturbed_prediction_is_the_clean_one(cases, monkeypatch):
    seen = watch(monkeypatch)
    task = make_task(cases, dropout=0, strong=0)
    batch = task.batch(0, 0, 1)
    added(task, batch)
    ((logits, labels, _, _),) = seen
    clean = task.common.model.logits(batch.streams[0].views[0].image)
    assert torch.equal(logits, clean)
    assert torch.equal(labels, clean.argmax(1))


def test_equal_strong_views_cost_the_same_in_every_bit(cases, monkeypatch):
    seen = watch(monkeypatch)
    task = make_task(cases, cutmix=0)
    batch = task.batch(0, 0, 1)
    weak, first, second = batch.streams[0].views
    stream = replace(batch.streams[0], views=(weak, first, replace(second, image=first.image)))
    added(task, replace(batch, streams=(stream,)))
    _, (_, _, _, one), (_, _, _, other) = seen
    assert torch.equal(one, other)
    added(task, batch)
    assert not torch.equal(seen[-1][3], one)


def test_boxes_of_the_two_strong_views_differ(cases, monkeypatch):
    seen = watch(monkeypatch)
    task = make_task(cases, cutmix=1, dropped=0)
    added(task, task.batch(0, 0, 1))
    (_, first, _, _), (_, second, _, _) = seen
    assert not torch.equal(first, second)


def test_the_weights_are_those_of_the_authors_beside_our_supervised_loss(cases, monkeypatch):
    """They train half of [(CE + Dice) / 2 + s1 / 4 + s2 / 4 + fp / 2]; ours is CE + Dice."""
    seen = watch(monkeypatch)
    task = make_task(cases, threshold=0.4)
    loss = added(task, task.batch(0, 0, 1)).loss
    disturbed, first, second = (float(value) for _, _, _, value in seen)
    scale = 1 / (0.5 * 0.5)
    theirs = scale * 0.5 * (first / 4 + second / 4 + disturbed / 2)
    assert loss.item() == pytest.approx(theirs)


def test_channels_are_dropped_whole_each_image_by_itself():
    maps = {"a": torch.ones(40, 50, 2, 3), "b": torch.ones(40, 8, 1, 1)}
    found = module.drop_channels(maps, 0.25, torch.Generator().manual_seed(0))
    for name, values in found.items():
        flat = values.flatten(2)
        assert torch.equal(flat.amin(2), flat.amax(2))
        assert flat.unique().tolist() == [0, pytest.approx(4 / 3)], name
    held = found["a"][:, :, 0, 0] > 0
    assert float(held.float().mean()) == pytest.approx(0.75, abs=0.03)
    assert len({tuple(row.tolist()) for row in held}) == 40
