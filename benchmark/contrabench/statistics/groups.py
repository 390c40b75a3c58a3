"""Tie groups: which methods the data cannot separate, as letters behind their names.

Two methods share a letter exactly where they are not separated. Being not separated is
no equality: A may be like B and B like C while A and C differ, so groups overlap.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from string import ascii_lowercase

import numpy as np
from numpy.typing import ArrayLike

from contrabench.errors import RequestError

Group = frozenset[int]


def tie_groups(separated: ArrayLike) -> list[tuple[int, ...]]:
    """Finds groups of methods such that two share a group iff they are not separated.

    Insert and absorb (Piepho, Journal of Computational and Graphical Statistics, 2004):
    one group of all is split at every separated pair and what lies within another group
    is dropped. Groups whose every pair another group holds as well are swept out.

    Args:
        separated: truth values, symmetric, shape (methods, methods), best method first.

    Returns:
        Groups as indices in ascending order, that of the first method first.

    Raises:
        RequestError: if the matrix is not square and symmetric, or a method is separated
            from itself.
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
    """Writes tie groups as the letters of a compact letter display.

    Args:
        separated: as for `tie_groups`.

    Returns:
        One string per method; the group of the first method is `a`, and after `z` come
        `a2`, `b2` and so on. A method that stands alone has a letter of its own.

    Raises:
        RequestError: as `tie_groups`.
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
