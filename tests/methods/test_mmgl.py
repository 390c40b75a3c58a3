"""MMGL's local loss from labels (S), from places (U) and from both (SU)."""

from dataclasses import replace

import pytest
import torch

from contrabench.contracts import registry
from contrabench.contracts.views import IGNORE
from contrabench.objectives.contrast import nt_xent
from contrabench.objectives.pixels import points, supervised_pixels
from contrabench.testing.phantoms import take

from .conftest import agree, exactly, pretrain_task

MMGL = registry.methods.get("mmgl")
REACHES = [{}, {"sampling": "block", "block": 4}]


def local(cases, variant, **options):
    method = MMGL(MMGL.Options(variant=variant, stages="local", **options))
    return pretrain_task(method, cases, 12, labelled=3).double()


def mixed(task, labelled):
    """A batch with masks on the slices of these numbers alone."""
    batch = exactly(task.batch(0, 0, 1))
    masks = torch.full_like(batch.views[0].masks, IGNORE)
    for row in labelled:
        masks[row] = torch.arange(masks[row].numel()).view(masks[row].shape) // 7 % 3
    return replace(batch, views=tuple(replace(view, masks=masks) for view in batch.views))


@pytest.mark.parametrize("options", REACHES)
def test_all_labelled_is_s_and_none_labelled_is_u(cases, options):
    both, supervised, free = (local(cases, v, **options) for v in ("SU", "S", "U"))
    all_labelled, none_labelled = mixed(both, range(12)), mixed(both, ())
    assert both(all_labelled).loss.item() == supervised(all_labelled).loss.item()
    assert both(none_labelled).loss.item() == free(none_labelled).loss.item()
    assert both(all_labelled).loss.item() != pytest.approx(both(none_labelled).loss.item())


def test_both_terms_by_hand(cases):
    """Groups of four: slices 0 and 1 are labelled, 2 and 3 not; then none; then 8 alone is not."""
    task = local(cases, "SU", local_taps=("dec1",))
    batch = mixed(task, (0, 1, 9, 10, 11))
    maps = [task.backbone.features(view.image, ("dec1",))["dec1"] for view in batch.views]
    row, column = task.objective.reach.begin(batch)
    first, second = (task.objective.heads["dec1"](m[..., row::4, column::4]) for m in maps)
    labels = batch.views[0].label[:, row::4, column::4]
    groups = []
    for group in ([2, 3], [4, 5, 6, 7], [8]):
        a, b = (torch.nn.functional.normalize(points(m[group]), dim=1) for m in (first, second))
        z, count = torch.cat((a, b)), len(a)
        similar = torch.exp(z @ z.T / 0.1).fill_diagonal_(0)
        partner = torch.cat((torch.arange(count, 2 * count), torch.arange(count)))
        near = similar[torch.arange(2 * count), partner]
        groups.append(-torch.log(near / similar.sum(dim=1)).mean())
    known = [
        supervised_pixels(first[g], second[g], labels[g], 0.1, task.objective.reach)
        for g in ([0, 1], [9, 10, 11])
    ]
    expected = sum(groups) / 3 + sum(known) / 2
    assert task(batch).loss.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("options", REACHES)
@pytest.mark.parametrize("labelled", [(0,), (0, 1, 5), (1, 2, 3, 4, 6, 9, 11)])
def test_whole_groups_may_change_places_and_slices_within_them(cases, options, labelled):
    task = local(cases, "SU", **options)
    batch = mixed(task, labelled)
    loss = task(batch).loss.item()
    orders = torch.arange(11, -1, -1), torch.tensor([6, 5, 4, 7, 9, 8, 11, 10, 3, 0, 1, 2])
    for order in orders:
        assert task(take(batch, order)).loss.item() == pytest.approx(loss, rel=1e-9)


@pytest.mark.parametrize(("side", "step"), [(160, 4), (208, 8), (256, 8)])
def test_labels_lie_where_the_features_do_at_every_scale(cases, side, step):
    task = local(cases, "S")
    batch = task.batch(0, 0, 1)
    generator = torch.Generator().manual_seed(0)
    masks = torch.arange(side * side).view(1, side, side) // 97 % 3
    images = torch.randn(2, 1, 1, side, side, generator=generator, dtype=torch.float64)
    views = [
        replace(view, image=image, masks=masks)
        for view, image in zip(batch.views, images, strict=True)
    ]
    batch = replace(batch, views=tuple(views))
    row, column = task.objective.reach.begin(batch)
    labels, terms = masks[:, row::step, column::step], []
    for tap, level in (("dec1", 1), ("dec2", 2), ("dec3", 4)):
        maps = [task.backbone.features(view.image, (tap,))[tap] for view in views]
        cut = [
            m[..., row // level :: step // level, column // level :: step // level] for m in maps
        ]
        first, second = (task.objective.heads[tap](m) for m in cut)
        reach = task.objective.reach
        terms.append(supervised_pixels(first, second, labels, 0.1, reach))
    found = task.objective(task.backbone, batch).loss
    assert found.item() == pytest.approx((sum(terms) / 3).item(), rel=1e-6)


def test_slices_of_one_orientation_repel_each_other_alone(cases):
    options = {"negatives": "same orientation", "global_taps": ["pool3"]}
    task = pretrain_task(MMGL(MMGL.Options(**options, stages="global")), cases, 12).double()
    batch = exactly(task.batch(0, 0, 1))
    first, second = (
        task.objective.heads["pool3"](task.backbone.pooled(view.image, ("pool3",))["pool3"])
        for view in batch.views
    )
    total = 0
    for way in batch.info.orientation.unique():
        own = batch.info.orientation == way
        total = total + own.sum() * nt_xent(first[own], second[own], 0.5)
    assert len(batch.info.orientation.unique()) > 1
    agree(task(batch).loss, total / batch.size, list(task.objective.heads.parameters()))
