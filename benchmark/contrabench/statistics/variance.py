"""Where a method's scores vary: between patients, label draws and training seeds.

More of one averages out that source and no other, so they are kept apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from contrabench.errors import RequestError
from contrabench.statistics.aggregate import UNIT

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
Sharing = tuple[bool, bool, bool]
"""Whether two observations of a fold share the patient, the label draw, the seed."""


@dataclass(frozen=True)
class VarianceSplit:
    """Components of the variance of a score, in its unit squared.

    Estimates are unbiased, so one near zero can come out negative. NaN marks a source of which no
    fold has two levels (`levels` is the most of a fold): it is then part of the others.
    `patients` of a fold vary the same in every run; `draws`, and `seeds` with the same labels, the
    same for all its patients; `remainder` is what a run does to single ones. `training` is what a
    fold's patients share as the same runs scored them: draws, seeds and training patients
    together, estimated between folds and so from a single draw and seed as well; NaN with one fold.
    """

    patients: float
    draws: float
    seeds: float
    remainder: float
    training: float
    levels: tuple[int, int, int]
    folds: int

    def mean_variance(self, patients: int, folds: int, draws: int, seeds: int) -> float:
        """The variance of a mean over a study of that size, from the sources that are known.

        Of a difference of two methods it is what repeating the study on other patients, labels and
        seeds would show. Each fold has its own label draws and each training run its own effect of
        the seed. Negative estimates count as zero.
        """
        by_draw, by_seed, remainder = map(_kept, (self.draws, self.seeds, self.remainder))
        own = _kept(self.patients, unknown=math.nan) + remainder / (draws * seeds)
        # What draws do not explain, such as one pre-training for all, no further draw averages.
        rest = _kept(self.training - by_draw - by_seed)
        shared = by_draw / draws + by_seed / (draws * seeds) + rest
        return own / patients + shared / folds


def _kept(part: float, unknown: float = 0.0) -> float:
    """A component that cannot be negative."""
    return unknown if math.isnan(part) else max(0.0, part)


def variance_split(observed: pd.Series[float]) -> VarianceSplit:
    """Estimates the components from all pairs of `observations` (or `differences`) within folds.

    Half the mean squared difference of two observations is the sum of the components that they
    do not share. Averaged over pairs that share the same things and solved, this is the analysis
    of variance where the design is complete, and stays unbiased where runs are missing (Koch,
    Technometrics, 1967 and 1968). Within folds, since a patient is tested in one and each draws
    its own labels. The seeds' component is that of training again on the same labels.
    """
    scores = observed.to_numpy(dtype=np.float64)
    if observed.index.has_duplicates or not np.isfinite(scores).all():
        raise RequestError(
            "an observation is missing or there twice; give each patient one finite score per "
            "fold, draw and seed"
        )
    place = {name: _places(observed.index.get_level_values(name)) for name in UNIT}
    centred = scores - scores.mean()
    half = _half_squares(centred, place)
    levels = [_most_in_a_fold(place["fold"], place[name]) for name in ("patient", "draw", "seed")]
    draws_vary, seeds_vary = levels[1] > 1, levels[2] > 1
    # Two observations that share as little as the design allows differ in everything.
    total = half[False, not draws_vary, not seeds_vary]
    patients = (
        total - half[True, not draws_vary, not seeds_vary] if draws_vary or seeds_vary else total
    )
    same_draw = half[False, True, not seeds_vary]
    draws = total - same_draw if draws_vary else math.nan
    seeds = same_draw - half[False, True, True] if seeds_vary else math.nan
    parts = (patients, *(part for part in (draws, seeds) if not math.isnan(part)))
    return VarianceSplit(
        patients=patients,
        draws=draws,
        seeds=seeds,
        remainder=total - sum(parts) if draws_vary or seeds_vary else math.nan,
        training=_between_folds(centred, place["fold"]) - half[False, True, True],
        levels=(levels[0], levels[1], levels[2]),
        folds=int(place["fold"].max()) + 1,
    )


def _places(names: pd.Index) -> Places:
    """The place of each name among all that there are, in order."""
    return pd.factorize(names, sort=True)[0].astype(np.int64)


def _most_in_a_fold(fold: Places, place: Places) -> int:
    """How many different places the fold with the most has."""
    pairs = np.unique(np.stack([fold, place]), axis=1)
    return int(np.bincount(pairs[0]).max())


def _half_squares(centred: Floats, place: dict[str, Places]) -> dict[Sharing, float]:
    """Half the mean squared difference of pairs in a fold that share exactly these things.

    From the sums of groups that share at least those, less the ones that share more.
    """
    pairs: dict[Sharing, float] = {}
    squares: dict[Sharing, float] = {}
    both = (True, False)
    groups = {}
    for sharing in product(both, both, both):
        group = place["fold"]
        for name, same in zip(("patient", "draw", "seed"), sharing, strict=True):
            if same:
                group = group * (place[name].max() + 1) + place[name]
        groups[sharing] = np.unique(group, return_inverse=True)[1]
    found = _sums(centred, list(groups.values()))
    for sharing, (sizes, sums, of_squares) in zip(groups, found, strict=True):
        richer = [
            other for other in pairs if all(o >= s for o, s in zip(other, sharing, strict=True))
        ]
        pairs[sharing] = float((sizes**2).sum()) - sum(pairs[other] for other in richer)
        squares[sharing] = float((sizes * of_squares - sums**2).sum()) - sum(
            squares[other] for other in richer
        )
    return {one: squares[one] / pairs[one] if pairs[one] else math.nan for one in pairs}


def _sums(
    centred: Floats, groups: Sequence[Places]
) -> list[tuple[NDArray[np.int64], Floats, Floats]]:
    """Sizes of groups, sums of their scores and of their squares, for each way to group them.

    All ways at once: a sum by group costs more to set up than to compute.
    """
    counts = [np.bincount(group) for group in groups]
    ends = np.cumsum([len(count) for count in counts])
    starts = ends - [len(count) for count in counts]
    keys = np.concatenate([group + start for group, start in zip(groups, starts, strict=True)])
    scores = np.tile(centred, len(groups))
    frame = pd.DataFrame({"key": keys, "score": scores, "square": scores**2})
    sums = frame.groupby("key").sum().to_numpy()
    return [
        (count, sums[start:end, 0], sums[start:end, 1])
        for count, start, end in zip(counts, starts, ends, strict=True)
    ]


def _between_folds(centred: Floats, fold: Places) -> float:
    """Half the mean squared difference of pairs in different folds; NaN with one fold."""
    ((sizes, sums, squares),) = _sums(centred, [fold])
    pairs = len(centred) ** 2 - float((sizes**2).sum())
    # The sum over all pairs, the centred scores adding up to zero, less that within folds.
    within = float((sizes * squares - sums**2).sum())
    return (len(centred) * float(squares.sum()) - within) / pairs if pairs else math.nan
