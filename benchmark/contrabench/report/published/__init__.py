"""Numbers that papers print for the datasets of the benchmark, and how they were measured.

They stand beside our own in a report and enter nothing that is computed from those. The README
beside the files tells what was taken and what was left out.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from contrabench.protocol import Frozen

SOURCES, NUMBERS = "sources.csv", "numbers.csv"

Text = Annotated[str, Field(min_length=1)]
Options = Annotated[
    dict[str, str], BeforeValidator(lambda text: dict([text.split("=", 1)]) if text else {})
]
"""Written `modality=ct`, or nothing."""
MaybeEmpty = BeforeValidator(lambda text: text or None)


class Source(Frozen):
    """One table of one publication, for one dataset: what its numbers are."""

    id: Text
    name: Text = Field(max_length=22, description="for the cell of a table")
    citation: Text = Field(description="authors, venue, identifier and table")
    dataset: Text = Field(description="as it is registered here")
    options: Options = Field(description="options of the dataset that it is about")
    modality: Text
    split: Text
    labelled: Text = Field(description="what its label budgets count")
    backbone: Text
    checkpoint: Text = Field(description="which one is scored")
    metrics: Text = Field(description="how the scores are computed")
    comparable: Literal["yes", "partly", "no"]
    why: str = Field(max_length=36, description="what differs most, for the cell of a table")
    reason: Text = Field(description="a sentence")


class Number(Frozen):
    """One printed number, in our units."""

    source: str
    method: Text = Field(description="as printed")
    ours: str = Field(description="the registered method that is the same one; empty for none")
    labels: Text = Field(description="the label budget as printed")
    labelled_patients: Annotated[int | None, MaybeEmpty] = Field(
        gt=0, description="empty where the source is silent"
    )
    fraction: float = Field(gt=0, le=1, description="labelled share of the training data")
    structure: str = Field(description="empty for the mean over the foreground")
    metric: Literal["dice", "asd"]
    value: float = Field(ge=0, allow_inf_nan=False)
    unit: Literal["", "pixel", "voxel", "mm"] = Field(description="of a distance")
    spread: Annotated[float | None, MaybeEmpty] = Field(
        ge=0, description="standard deviation over seeds, if printed"
    )


class Literature(Frozen):
    """All sources, and the numbers of each."""

    sources: tuple[Source, ...]
    numbers: tuple[Number, ...]


@cache
def literature() -> Literature:
    """The numbers that come with the package, whose files the tests look through."""
    lines: list[Any] = []
    for name in (SOURCES, NUMBERS):
        text = (files(__name__) / name).read_text("utf-8")
        lines.append(list(csv.DictReader(text.splitlines())))
    return Literature(sources=lines[0], numbers=lines[1])
