"""The contract of a fine-tuning loss: what the labelled slices are trained with.

Another loss than the common one is a deviation: it gets a scratch with the same loss beside it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from contrabench.contracts.views import IGNORE
from contrabench.errors import RequestError
from contrabench.protocol import Frozen
from contrabench.protocol import Options as _Options

_CLASSES = 3


class LossInfo(Frozen):
    """What a reader must know about a loss."""

    title: str
    source: str = Field(description="paper or library that it follows")
    version: int = Field(1, description="raised when the same logits give another value")


class Loss(nn.Module, ABC):
    """The loss of one segmentation head; what it holds in parameters is trained as well."""

    info: ClassVar[LossInfo]
    Options: ClassVar[type[_Options]] = _Options

    def __init__(self, options: _Options | None = None) -> None:
        super().__init__()
        self.options = self.Options() if options is None else options

    @abstractmethod
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """A scalar of logits (B, classes, H, W) in float32 and classes (B, H, W) in int64.

        Pixels of the class `IGNORE` lie outside of the slice: they count as background or not at
        all.
        """


def check_loss(loss: Loss, what: str) -> None:
    """RequestError if a loss is none: on a few pixels, whose right answer is known.

    It is finite, the same twice, lower for the right answer than for a wrong one, and teaches
    something, but never a structure to pixels to be ignored.
    """
    random = torch.Generator().manual_seed(0)
    target = torch.randint(0, _CLASSES, (2, 16, 16), generator=random)
    right = functional.one_hot(target, _CLASSES).movedim(-1, 1).float()
    noise = torch.randn(right.shape, generator=random)
    target[:, :4] = IGNORE
    logits = noise.clone().requires_grad_()
    value = loss(logits, target)
    if not isinstance(value, Tensor) or value.dim() or not bool(value.isfinite()):
        raise RequestError(f"{what} gives {value!r} where one finite number is wanted")
    if not torch.equal(loss(logits, target), value):
        raise RequestError(f"{what} gives another value each time; draw nothing in it")
    if not value.requires_grad:
        raise RequestError(f"{what} has no gradient; compute it from the logits alone")
    (slope,) = torch.autograd.grad(value, logits)
    if not bool(slope.isfinite().all()):
        raise RequestError(f"{what} has a gradient that is not finite")
    if bool((slope[:, 0, :4] > 0).any()):
        raise RequestError(
            f"{what} teaches structures to pixels to be ignored, outside of the slice; leave out "
            f"those whose target is IGNORE ({IGNORE}), or count them as background"
        )
    if not bool(slope[:, :, 4:].any()):
        raise RequestError(f"{what} teaches nothing: its gradient is zero")
    with torch.no_grad():
        best, worst = (float(loss(sign * 8 * right + 0.1 * noise, target)) for sign in (1, -1))
    if not best < worst:
        raise RequestError(
            f"{what} is {best:.3g} for the right answer and {worst:.3g} for a wrong one; a loss is "
            "lower for the right one"
        )
