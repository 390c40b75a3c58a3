"""Numbers that papers print for the datasets of the benchmark, and how they were measured.

They stand beside our own in a report and enter nothing that is computed from those. The README
beside the files tells what was taken and what was left out.
"""

from __future__ import annotations

import csv
from collections import Counter
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from contrabench.errors import RunError
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

    @model_validator(mode="after")
    def _in_our_unit(self) -> Self:
        is_dice = self.metric == "dice"
        if is_dice and (self.value > 1 or self.unit):
            raise ValueError("a Dice is a number from 0 to 1 without a unit")
        if not (is_dice or self.unit):
            raise ValueError("a distance needs its unit")
        return self


class Literature(Frozen):
    """All sources, and the numbers of each."""

    sources: tuple[Source, ...]
    numbers: tuple[Number, ...]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        known = Counter(source.id for source in self.sources)
        scored = Counter(
            (n.source, n.method, n.labels, n.structure, n.metric) for n in self.numbers
        )
        for key, count in (*known.items(), *scored.items()):
            if count > 1:
                raise ValueError(f"{key} is there {count} times")
        strange = {source for source, *_ in scored} ^ set(known)
        if strange:
            raise ValueError(f"{min(strange)} is a source without numbers, or the other way round")
        alone = [key[:-1] for key in scored if (*key[:-1], "dice") not in scored]
        if alone:
            raise ValueError(f"{min(alone)} has no Dice")
        return self


@cache
def literature() -> Literature:
    """The numbers that come with the package; RunError if its files are damaged."""
    return read_literature(files(__name__))


def read_literature(folder: Traversable) -> Literature:
    """Reads and checks `sources.csv` and `numbers.csv`; RunError naming the first fault."""
    lines: list[Any] = []
    for name in (SOURCES, NUMBERS):
        try:
            text = (folder / name).read_text("utf-8")
        except (OSError, UnicodeError) as error:
            raise _fault(name, f"it cannot be read ({error})") from error
        lines.append(list(csv.DictReader(text.splitlines())))
    try:
        return Literature(sources=lines[0], numbers=lines[1])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = f"{SOURCES} and {NUMBERS}"
        if first["loc"]:
            kind, row, *column = first["loc"]
            where = ", ".join([f"{kind}.csv", f"line {int(row) + 2}", *map(str, column)])
        raise _fault(where, first["msg"].removeprefix("Value error, ")) from None


def _fault(place: str, fault: str) -> RunError:
    return RunError(
        f"published numbers, {place}: {fault}; no report can be made beside them. Install the "
        "package again."
    )
