"""Where a method's scores vary: between patients, label draws and training seeds.

More patients average out the first source, more label draws the second, more seeds the
third; none helps with another. So they are kept apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from contrabench.errors import RequestError
from contrabench.statistics.aggregate import UNIT

Sharing = tuple[bool, bool, bool]
"""Whether two observations of a fold share the patient, the label draw, the seed."""


@dataclass(frozen=True)
class VarianceSplit:
    """Components of the variance of a score, in its unit squared.

    Estimates are unbiased, so one near zero can come out negative. NaN marks a source
    of which no fold has two levels: it is then part of the others.

    Attributes:
        patients: between patients of a fold, the same for every training run.
        draws: between label draws, the same for all patients of a fold.
        seeds: between seeds with the same labels, the same for all patients of a fold.
        remainder: what a run does to single patients, beyond its mean.
        training: what the patients of a fold share because the same runs scored them:
            draws, seeds and the fold's training patients together, estimated between
            folds and so from a single draw and seed as well; NaN with one fold.
        levels: most patients, draws and seeds that a fold has.
        folds: number of folds.
    """

    patients: float
    draws: float
    seeds: float
    remainder: float
    training: float
    levels: tuple[int, int, int]
    folds: int

    @property
    def known(self) -> dict[str, float]:
        """The sources that the data can tell apart, negative estimates set to zero."""
        parts = {name: getattr(self, name) for name in ("patients", "draws", "seeds", "remainder")}
        return {name: max(0.0, part) for name, part in parts.items() if not math.isnan(part)}

    def mean_variance(self, patients: int, folds: int, draws: int, seeds: int) -> float:
        """The variance of a mean over a study of that size.

        Of a difference of two methods it is what repeating the study on other patients,
        with other labels and other seeds, would show. Each fold has its own draws and
        each training run its own effect of the seed.

        Args:
            patients: in total, each tested in one fold.
            folds: number of folds, with as many patients each.
            draws: label draws per fold.
            seeds: seeds per draw.

        Returns:
            From the sources that are known.
        """
        known, runs = self.known, draws * seeds
        own = known.get("patients", math.nan) + known.get("remainder", 0.0) / runs
        rest = self.training - known.get("draws", 0.0) - known.get("seeds", 0.0)
        rest = 0.0 if math.isnan(rest) else max(0.0, rest)
        # What draws do not explain, such as one pre-training for all, no further draw averages.
        shared = known.get("draws", 0.0) / draws + known.get("seeds", 0.0) / runs + rest
        return own / patients + shared / folds


def variance_split(observed: pd.DataFrame) -> VarianceSplit:
    """Estimates the components from all pairs of observations within folds.

    Half the mean squared difference of two observations is the sum of the components
    that they do not share. Averaged over pairs that share the same things and solved,
    this is the analysis of variance where the design is complete, and stays unbiased
    where runs are missing (Koch, Technometrics, 1967 and 1968). Patients and draws are
    compared within folds, since a patient is tested in one fold and each fold draws its
    own labels. The seeds' component is that of training again on the same labels.

    Args:
        observed: columns `patient`, `fold`, `draw`, `seed` and `score`, as
            `observations` or `differences` return them.

    Raises:
        RequestError: if a score is missing or an observation is there twice.
    """
    if observed.duplicated(UNIT).any() or not np.isfinite(observed["score"]).all():
        raise RequestError(
            "an observation is missing or there twice; give each patient one finite score per "
            "fold, draw and seed"
        )
    half = _half_squares(observed)
    by_fold = observed.groupby("fold")[["patient", "draw", "seed"]].nunique()
    levels = by_fold.max().fillna(0).astype(int)
    draws_vary, seeds_vary = bool(levels["draw"] > 1), bool(levels["seed"] > 1)
    # Two observations that share as little as the design allows differ in everything.
    total = half[False, not draws_vary, not seeds_vary]
    patients = (
        total - half[True, not draws_vary, not seeds_vary] if draws_vary or seeds_vary else total
    )
    same_draw = half[False, True, not seeds_vary]
    draws = total - same_draw if draws_vary else math.nan
    seeds = same_draw - half[False, True, True] if seeds_vary else math.nan
    parts = (patients, *(part for part in (draws, seeds) if not math.isnan(part)))
    remainder = total - sum(parts) if draws_vary or seeds_vary else math.nan
    return VarianceSplit(
        patients=patients,
        draws=draws,
        seeds=seeds,
        remainder=remainder,
        training=_between_folds(observed) - half[False, True, True],
        levels=(int(levels["patient"]), int(levels["draw"]), int(levels["seed"])),
        folds=len(by_fold),
    )


def _half_squares(observed: pd.DataFrame) -> dict[Sharing, float]:
    """Half the mean squared difference of pairs in a fold that share exactly these things.

    Sums over pairs that share at least something follow from the sums of groups; taking
    out those that share more leaves the rest, without going through the pairs.
    """
    centred = observed.assign(score=observed["score"] - observed["score"].mean())
    centred["square"] = centred["score"] ** 2
    pairs: dict[Sharing, float] = {}
    squares: dict[Sharing, float] = {}
    both = (True, False)
    sharings: list[Sharing] = list(product(both, both, both))
    for sharing in sharings:
        names = [
            name for name, same in zip(("patient", "draw", "seed"), sharing, strict=True) if same
        ]
        groups = centred.groupby(["fold", *names], observed=True)
        sizes, sums = groups.size(), groups[["score", "square"]].sum()
        richer = [
            other for other in pairs if all(o >= s for o, s in zip(other, sharing, strict=True))
        ]
        pairs[sharing] = float((sizes**2).sum()) - sum(pairs[other] for other in richer)
        squares[sharing] = float((sizes * sums["square"] - sums["score"] ** 2).sum()) - sum(
            squares[other] for other in richer
        )
    return {
        sharing: squares[sharing] / pairs[sharing] if pairs[sharing] else math.nan
        for sharing in sharings
    }


def _between_folds(observed: pd.DataFrame) -> float:
    """Half the mean squared difference of pairs in different folds; NaN with one fold."""
    centred = observed["score"] - observed["score"].mean()
    folds = centred.groupby(observed["fold"])
    sizes, sums, squares = folds.size(), folds.sum(), (centred**2).groupby(observed["fold"]).sum()
    pairs = len(centred) ** 2 - float((sizes**2).sum())
    # The sum over all pairs, the centred scores adding up to zero, less that within folds.
    within = float((sizes * squares - sums**2).sum())
    return (len(centred) * float(squares.sum()) - within) / pairs if pairs else math.nan
