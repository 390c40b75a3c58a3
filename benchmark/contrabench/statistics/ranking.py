"""The order of methods: ranks, how far they hang on who was tested, and tie groups.

A rank is no verdict: with equal methods someone still comes first. So it goes with the range
that the pairwise tests leave open, its spread over resampled patients, and other schemes' ranks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import combinations
from string import ascii_lowercase

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from contrabench.errors import RequestError
from contrabench.statistics.intervals import RESAMPLES, resampled_counts
from contrabench.statistics.paired import Pairwise, complete_scores, pairwise

Floats = NDArray[np.float64]
Group = frozenset[int]

_CHUNK = 1000
_DIGITS = 12
"""Means that are equal on paper differ in the last digits; ties must stay ties."""

BY_SCORE, BY_RANK, BY_TESTS = SCHEMES = ("mean score", "mean rank", "significant wins")
"""What methods are ranked by."""


def rank_methods(
    scores: pd.DataFrame, scheme: str = BY_SCORE, compared: Pairwise | None = None
) -> pd.Series[float]:
    """Ranks methods (columns of scores, higher is better), 1 for the best; ties share their mean.

    By `mean score`; by `mean rank` within each patient; or by `significant wins`, the number of
    methods that one is better than after Holm over all pairs, less those better than it, as
    `compared` says of these scores, or else the test over patients.
    """
    values, names = complete_scores(scores)
    if scheme == BY_TESTS:
        better = (compared or pairwise(scores)).better().to_numpy()
        merits = (better.sum(axis=1) - better.sum(axis=0)).astype(np.float64)
    else:
        merits = (-_ranks(values) if scheme == BY_RANK else values).mean(axis=0)
    return pd.Series(_ranks(merits[None, :])[0], index=names)


def rank_stability(scores: pd.DataFrame, resamples: int = RESAMPLES) -> tuple[pd.DataFrame, Floats]:
    """Ranks mean scores again with patients drawn with replacement (Wiesenfarth et al. 2021).

    Gives `low` and `high` of the 95 % range of each method's rank and its share of first places,
    ties divided; and Kendall's tau-b of each sample's ranking with that of all patients. The range
    says how stable the ranking is. It is no confidence interval of a true rank, which near ties no
    bootstrap gives (Xie, Singh and Zhang 2009); `rank_limits` is. NaN for one patient.
    """
    values, names = complete_scores(scores)
    table = pd.DataFrame(math.nan, index=names, columns=["low", "high", "first"])
    if len(values) < 2:
        return table, np.array([math.nan])
    ranks = _ranks(resampled_counts(len(values), resamples) @ values / len(values))
    best = ranks == ranks.min(axis=1, keepdims=True)
    table["low"], table["high"] = np.quantile(ranks, [0.025, 0.975], 0, method="inverted_cdf")
    table["first"] = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    return table, kendall(ranks, _ranks(values.mean(axis=0)[None, :])[0])


def rank_limits(compared: Pairwise) -> pd.DataFrame:
    """The ranks that the pairwise tests leave open to each method: `low` (best) and `high`.

    Below those separated from it and better, above those worse. The chance that any true rank
    lies outside is at most `LEVEL` (Mogstad, Romano, Shaikh and Wilhelm 2024).
    """
    better = compared.better()
    return pd.DataFrame({"low": 1 + better.sum(axis=0), "high": len(better) - better.sum(axis=1)})


def kendall(rankings: Floats, reference: Floats) -> Floats:
    """Kendall's tau-b (1945) of each of many rankings, shape (rankings, methods), with one.

    NaN where one of the two has all methods tied.
    """
    first, second = np.triu_indices(reference.size, 1)
    expected = np.sign(reference[first] - reference[second])
    taus = [np.empty(0)]
    for start in range(0, len(rankings), _CHUNK):  # there are many more pairs than methods
        chunk = rankings[start : start + _CHUNK]
        orders = np.sign(chunk[:, first] - chunk[:, second])
        untied = (orders != 0).sum(axis=1) * (expected != 0).sum()
        with np.errstate(invalid="ignore"):
            taus.append((orders @ expected) / np.sqrt(untied))
    return np.concatenate(taus)


def _ranks(merits: Floats) -> Floats:
    """Ranks in each row, 1 for the largest; those that tie share their mean."""
    return pd.DataFrame(-merits.round(_DIGITS)).rank(axis=1).to_numpy()


def tie_groups(separated: ArrayLike) -> list[tuple[int, ...]]:
    """Finds groups of methods such that two share a group iff they are not separated.

    Being not separated is no equality: A may be like B and B like C while A and C differ, so
    groups overlap. Insert and absorb (Piepho, Journal of Computational and Graphical Statistics,
    2004): one group of all is split at every separated pair, and what lies within another group
    is dropped; so is at last a group whose every pair others hold as well.

    `separated` is symmetric, shape (methods, methods), best method first, or a RequestError.
    Groups are indices in ascending order, that of the first method first.
    """
    verdicts = np.asarray(separated, dtype=bool)
    square = verdicts.ndim == 2 and verdicts.shape[0] == verdicts.shape[1]
    if not square or (verdicts != verdicts.T).any() or verdicts.diagonal().any():
        raise RequestError(
            f"verdicts of shape {verdicts.shape} are no pairwise comparison; give a symmetric "
            "matrix with False in its diagonal"
        )
    groups: set[Group] = {frozenset(range(len(verdicts)))} if len(verdicts) else set()
    for first, second in zip(*np.nonzero(np.triu(verdicts)), strict=True):
        pair = {int(first), int(second)}
        split = {group for group in groups if pair <= group}
        parts = {group - {member} for group in split for member in pair}
        groups = _without_absorbed(groups - split, parts)
    return sorted(tuple(sorted(group)) for group in _swept(groups))


def letters(separated: ArrayLike) -> list[str]:
    """Writes `tie_groups` as the letters of a compact letter display, one string per method.

    From `a` for the first method's group; after `z` come `a2`, `b2`. One alone has its own letter.
    """
    marks = [""] * len(np.asarray(separated))
    for number, group in enumerate(tie_groups(separated)):
        round_, letter = divmod(number, len(ascii_lowercase))
        for member in group:
            marks[member] += ascii_lowercase[letter] + (str(round_ + 1) if round_ else "")
    return marks


def _without_absorbed(kept: set[Group], parts: Iterable[Group]) -> set[Group]:
    """Adds those parts that lie within no other group."""
    for part in sorted(parts, key=len, reverse=True):
        if part and not any(part <= group for group in kept):
            kept.add(part)
    return kept


def _swept(groups: set[Group]) -> set[Group]:
    """Drops groups, smallest first, whose every pair (or only member) others hold too."""
    kept = set(groups)
    for group in sorted(groups, key=lambda group: (len(group), sorted(group))):
        others = kept - {group}
        if all(
            any({*pair} <= other for other in others)
            for pair in combinations(group, min(2, len(group)))
        ):
            kept = others
    return kept
