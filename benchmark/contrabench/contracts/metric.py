"""The contract of a metric of one's own: told beside the metric contract's, never instead."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from contrabench.protocol import Frozen
from contrabench.protocol import Options as _Options

Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]


class MetricInfo(Frozen):
    """What a reader must know about a metric."""

    title: str
    source: str = Field(description="paper or library that it follows")
    unit: str = Field("", description="such as mm or ml; empty for a bare number")
    higher_is_better: bool = True
    version: int = Field(1, description="raised when the same masks give another number")


class Metric(ABC):
    """One number for one structure of one case."""

    info: ClassVar[MetricInfo]
    Options: ClassVar[type[_Options]] = _Options

    def __init__(self, options: _Options | None = None) -> None:
        self.options = self.Options() if options is None else options

    @abstractmethod
    def score(self, prediction: Mask, reference: Mask, spacing: Spacing) -> float:
        """Scores two masks (X, Y, Z) on the reference's grid, of which one at least holds a voxel.

        `spacing` is in mm, or (1, 1, 1) where it is unknown. Finite also where one mask is empty:
        what is skipped would make a mean better than it is. The masks cannot be written to.
        """
