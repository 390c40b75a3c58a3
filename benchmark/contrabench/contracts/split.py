"""A split that is given and not drawn: a user's own, or one that papers share."""

from __future__ import annotations

from pydantic import Field, field_validator

from contrabench.protocol import Frozen

Names = tuple[str, ...]
"""Of patients, or of cases, which stand for their patients."""


class GivenFold(Frozen):
    """One network's part of a given split; what stands in none of its lists is not named."""

    train: Names = Field(min_length=1)
    val: Names = Field((), description="neither trained on nor tested: no checkpoint is chosen")
    test: Names = Field(min_length=1)

    @field_validator("train", "val", "test")
    @classmethod
    def _sorted(cls, names: Names) -> Names:
        """The order of a file says nothing."""
        return tuple(sorted(set(names)))


class GivenSplit(Frozen):
    """Who is trained on and who is tested, by name.

    Attributes:
        folds: each with networks of its own; a patient is tested in one of them at most.
        labelled: who is labelled first, in this order, in draw 0: published budgets such as 7 of 70
            are then the same patients. Others follow in an order that is drawn.
    """

    folds: tuple[GivenFold, ...] = Field(min_length=1)
    labelled: Names = ()
    source: str = Field("", description="who made it, and where it is published")
