"""One row of a table while it is being computed, and the references every table needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from contrabench.statistics.paired import PairedDifference

if TYPE_CHECKING:
    import pandas as pd

REFERENCE = "scratch"
"""The variant that every difference is taken to: no pre-training at all."""
LONGER = "scratch_long"
"""The variant that spends the pre-training steps on longer fine-tuning."""
FULL_SUPERVISION = "full supervision"
"""The reference with the labels of all training patients, shown at every budget."""


@dataclass
class Entry:
    """One method variant with its deviations at one label budget.

    Attributes:
        name: variant, or `FULL_SUPERVISION`.
        deviations: what else its runs change; "" for nothing.
        rows: its result rows.
        scores: one row per patient, one column per metric.
        difference: in Dice to the reference; None where the patients are not the same.
    """

    name: str
    deviations: str
    rows: pd.DataFrame
    scores: pd.DataFrame
    difference: PairedDifference | None = None

    @property
    def label(self) -> str:
        """How a note names it."""
        return f"{self.name} ({self.deviations})" if self.deviations else self.name

    @property
    def is_reference(self) -> bool:
        """Whether the others are compared with it."""
        return self.name == REFERENCE and not self.deviations

    @property
    def dice(self) -> float:
        """Mean over patients; NaN without a structure that applies."""
        return float(self.scores["dice"].mean())

    @property
    def folds(self) -> str:
        """Folds that are done, of those of the protocol."""
        return f"{self.rows['fold'].nunique()} of {int(self.rows['folds'].max())}"

    @property
    def cells(self) -> pd.DataFrame:
        """Fold, draw and seed of each of its runs; equal for runs that repeat each other."""
        return self.rows[["run", "fold", "draw", "seed"]].drop_duplicates()
