"""A loss of one's own: a kept contract is taken, and each planted fault is told."""

import pytest
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from contrabench import Loss, LossInfo, Options
from contrabench.contracts.chosen import checked_loss, chosen
from contrabench.contracts.loss import check_loss
from contrabench.contracts.registry import Registry, losses
from contrabench.contracts.views import IGNORE
from contrabench.errors import RequestError

INFO = LossInfo(title="a loss", source="nobody")


class Made(Loss):
    """Cross-entropy over the known pixels, with a fault to be planted."""

    info = INFO

    def forward(self, logits, target):
        return self.spoil(functional.cross_entropy(logits, target, ignore_index=IGNORE), logits)

    def spoil(self, value, logits):
        return value


FAULTS = {
    "one finite number": lambda value, logits: value * float("nan"),
    "where one finite number": lambda value, logits: value.expand(2),
    "another value each time": lambda value, logits: value + torch.rand(()),
    "no gradient": lambda value, logits: value.detach(),
    "gradient that is not finite": lambda value, logits: value + (0 * logits).sum().sqrt(),
    "structures to pixels to be ignored": lambda value, logits: value + logits.square().mean(),
    "teaches nothing": lambda value, logits: 0 * value,
    "lower for the right one": lambda value, logits: -value,
}


def test_a_loss_that_keeps_the_contract_is_taken():
    check_loss(Made(), "loss 'made'")


@pytest.mark.parametrize("words", FAULTS)
def test_a_planted_fault_is_told(words, monkeypatch):
    monkeypatch.setattr(Made, "spoil", lambda self, value, logits: FAULTS[words](value, logits))
    with pytest.raises(RequestError, match=words):
        check_loss(Made(), "loss 'made'")


def test_every_built_in_loss_keeps_the_contract():
    assert "dice_ce" in losses.names()
    for name in losses.names():
        assert checked_loss(name) == name


class PowerOptions(Options):
    """Options of a loss."""

    gamma: float = Field(2.0, description="power")
    around: tuple[int, ...] = Field((1, 2), description="anything")


@pytest.fixture
def mine():
    own = Registry("loss", "contrabench.model.losses")

    class Power(Made):
        """Another one."""

        Options = PowerOptions

    own.register("power")(Power)
    return own


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("power", "power"),
        ("power[]", "power"),
        (" power[gamma=2] ", "power"),
        ("power[gamma=1, around=[3]]", "power[around=3, gamma=1.0]"),
    ],
)
def test_what_means_the_same_is_told_one_way(mine, asked, told):
    assert chosen(mine, asked).text == told


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("power[gamma=1", "not understood"),
        ("powder", "did you mean 'power'"),
        ("power[gama=1]", "did you mean 'gamma'"),
    ],
)
def test_what_is_not_there_is_told(mine, asked, words):
    with pytest.raises(RequestError, match=words):
        chosen(mine, asked)


def test_options_are_in_the_identity_and_reach_the_loss(mine):
    one = chosen(mine, "power[gamma=1]")
    assert one.open().options.gamma == 1
    assert isinstance(one.open(), nn.Module)
    assert one.identity != chosen(mine, "power").identity
