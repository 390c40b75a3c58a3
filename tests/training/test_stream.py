"""Batches that were drawn ahead in a thread are those of a stream that draws on the spot."""

import pytest
import torch

from contrabench.contracts.views import Occlusion, ViewSpec
from contrabench.data.synthetic import synthetic_bank
from contrabench.errors import RequestError
from contrabench.protocol import Seeds
from contrabench.training.stream import Stream

CPU = torch.device("cpu")
SPECS = (ViewSpec(), ViewSpec(scale=0.5, occlusion=Occlusion(cells=4)))


def stream(batch=6, kind=Stream):
    return kind(synthetic_bank(32, 2, CPU), SPECS, batch, 16, Seeds(), "test")


def tensors(batch):
    for view in batch.views:
        yield from (view.image, view.geometry.affine, view.masks)
        if view.hidden is not None:
            yield view.hidden
    yield from vars(batch.info).values()


class Elsewhere(Stream):
    """Believes that its bank lies on a device."""

    def __init__(self, *args, **named):
        super().__init__(*args, **named)
        self.drawn = []

    def _due(self, place):
        return self._arrived(place)

    def _plan(self, place):
        self.drawn.append(place)
        return super()._plan(place)


@pytest.fixture
def ahead():
    return stream(kind=Elsewhere)


def test_what_is_drawn_ahead_is_the_same(ahead):
    own = stream()
    for place in ((0, 0, 2), (0, 1, 2), (1, 0, 2), (7, 0, 2), (7, 1, 2)):
        pairs = zip(tensors(ahead.batch(*place)), tensors(own.batch(*place)), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)


def test_each_batch_is_drawn_once_and_the_next_one_without_being_asked_for(ahead):
    for step in range(4):
        ahead.batch(step, 0, 1)
    ahead.artist.shutdown()
    assert ahead.drawn == [(step, 0, 1) for step in range(5)]


def test_slices_that_do_not_fit_on_the_device_travel_with_the_rest():
    found = stream()
    info = found.batch(3, 0, 1).info
    bank = found.bank
    object.__setattr__(bank, "device", torch.device("meta"))
    plan = found._plan((3, 0, 1))
    assert torch.equal(plan.images, bank.images[info.index])
    assert torch.equal(plan.masks, bank.masks[info.index])


def test_a_batch_that_cannot_be_divided_is_refused():
    with pytest.raises(RequestError, match="cannot be accumulated"):
        stream().batch(0, 0, 4)
