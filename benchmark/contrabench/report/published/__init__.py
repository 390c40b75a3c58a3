"""Numbers that papers print for the datasets of the benchmark, and how they were measured.

They stand beside our own in a report and enter nothing that is computed from those. What
was taken and what was left out is told in the README beside the files.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from contrabench.errors import RunError
from contrabench.protocol import Frozen

SOURCES, NUMBERS = "sources.csv", "numbers.csv"

Line = TypeVar("Line", bound=BaseModel)


class Source(Frozen):
    """One table of one publication, for one dataset: what its numbers are."""

    id: str = Field(min_length=1)
    name: str = Field(min_length=1, max_length=22, description="for the cell of a table")
    citation: str = Field(min_length=1, description="authors, venue, identifier and table")
    dataset: str = Field(min_length=1, description="as it is registered here")
    options: dict[str, str] = Field(description="options of the dataset that it is about")
    modality: str = Field(min_length=1)
    split: str = Field(min_length=1)
    labelled: str = Field(min_length=1, description="what its label budgets count")
    backbone: str = Field(min_length=1)
    checkpoint: str = Field(min_length=1, description="which one is scored")
    metrics: str = Field(min_length=1, description="how the scores are computed")
    comparable: Literal["yes", "partly", "no"]
    why: str = Field(max_length=36, description="what differs most, for the cell of a table")
    reason: str = Field(min_length=1, description="a sentence")

    @field_validator("options", mode="before")
    @classmethod
    def _pairs(cls, text: str) -> dict[str, str]:
        """Reads `modality=ct`, or nothing."""
        return dict([text.split("=", 1)]) if text else {}


class Number(Frozen):
    """One printed number, in our units."""

    source: str
    method: str = Field(min_length=1, description="as printed")
    ours: str = Field(description="the registered method that is the same one; empty for none")
    labels: str = Field(min_length=1, description="the label budget as printed")
    labelled_patients: int | None = Field(gt=0, description="empty where the source is silent")
    fraction: float = Field(gt=0, le=1, description="labelled share of the training data")
    structure: str = Field(description="empty for the mean over the foreground")
    metric: Literal["dice", "asd"]
    value: float = Field(ge=0, allow_inf_nan=False)
    unit: Literal["", "pixel", "voxel", "mm"] = Field(description="of a distance")
    spread: float | None = Field(ge=0, description="standard deviation over seeds, if printed")

    @field_validator("labelled_patients", "spread", mode="before")
    @classmethod
    def _unknown(cls, text: str) -> str | None:
        return text or None

    @model_validator(mode="after")
    def _in_our_unit(self) -> Self:
        if self.is_dice and (self.value > 1 or self.unit):
            raise ValueError("a Dice is a number from 0 to 1 without a unit")
        if not (self.is_dice or self.unit):
            raise ValueError("a distance needs its unit")
        return self

    @property
    def is_dice(self) -> bool:
        """Whether it is no distance."""
        return self.metric == "dice"

    @property
    def of(self) -> tuple[str, ...]:
        """What was scored; each has a Dice, and at most one number per metric."""
        return (self.source, self.method, self.labels, self.structure)


class Literature(Frozen):
    """All sources, and the numbers of each."""

    sources: tuple[Source, ...]
    numbers: tuple[Number, ...]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        known = [source.id for source in self.sources]
        keys = [(*one.of, one.metric) for one in self.numbers]
        for key, count in (*Counter(known).items(), *Counter(keys).items()):
            if count > 1:
                raise ValueError(f"{key} is there {count} times")
        strange = {one.source for one in self.numbers} ^ set(known)
        if strange:
            raise ValueError(f"{min(strange)} is a source without numbers, or the other way round")
        alone = {one.of for one in self.numbers} - {one.of for one in self.numbers if one.is_dice}
        if alone:
            raise ValueError(f"{min(alone)} has no Dice")
        return self


@cache
def literature() -> Literature:
    """The numbers that come with the package.

    Raises:
        RunError: if the files of the package are damaged.
    """
    return read_literature(files(__name__))


def read_literature(folder: Traversable) -> Literature:
    """Reads and checks `sources.csv` and `numbers.csv` of a folder.

    Raises:
        RunError: naming the first fault.
    """
    sources = tuple(_lines(folder / SOURCES, Source))
    numbers = tuple(_lines(folder / NUMBERS, Number))
    try:
        return Literature(sources=sources, numbers=numbers)
    except ValidationError as error:
        raise RunError(_fault(f"{SOURCES} and {NUMBERS}", error)) from None


def _lines(file: Traversable, kind: type[Line]) -> Iterator[Line]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise RunError(_told(file.name, f"it cannot be read ({error})")) from error
    reader: csv.DictReader[Any] = csv.DictReader(text.splitlines())
    for cells in reader:
        try:
            yield kind.model_validate(cells)
        except ValidationError as error:
            raise RunError(_fault(f"{file.name}, line {reader.line_num}", error)) from None


def _fault(where: str, error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    place = ", ".join([where, *map(str, first["loc"])])
    return _told(place, first["msg"].removeprefix("Value error, "))


def _told(place: str, fault: str) -> str:
    return (
        f"published numbers, {place}: {fault}; no report can be made beside them. Install the "
        "package again."
    )
