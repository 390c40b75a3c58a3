"""What a frozen representation is worth: geometry on the sphere, rank, and linear probes.

Pure functions on arrays of features; nothing here knows a network or a dataset. A probe
never sees the groups (patients) that it is scored on, neither for its weights nor for its
regularisation.
"""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

Array = NDArray[np.floating]
ALPHAS = tuple(10.0**power for power in range(-1, 6))
"""Ridge penalties tried, for standardised features."""
FOLDS = 4


def on_sphere(features: Array) -> NDArray[np.float64]:
    """Divides each row (n, d) by its Euclidean length; a row of zeros stays."""
    rows = np.asarray(features, np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1.0)


def alignment(first: Array, second: Array) -> float:
    """Mean squared distance of the embeddings of two views of the same image.

    Wang and Isola, ICML 2020, arXiv 2005.10242, with alpha = 2. 0 is best; two
    independent points of a sphere about the origin are 2 apart on average.

    Args:
        first: (n, d), of unit length.
        second: (n, d), its row i of the same image as row i of `first`.
    """
    return float(((first - second) ** 2).sum(axis=1).mean())


def uniformity(points: Array) -> float:
    """Logarithm of the mean Gaussian potential of all pairs of different points.

    log mean_{i != j} exp(-2 |z_i - z_j|^2), Wang and Isola, ICML 2020, with t = 2. 0 where
    all points are one; in high dimensions it tends to -4 for points spread evenly.

    Args:
        points: (n, d), of unit length, n at least 2.
    """
    rows = np.asarray(points, np.float64)
    squares = (rows**2).sum(axis=1)
    distance = np.maximum(squares[:, None] + squares[None] - 2 * rows @ rows.T, 0.0)
    pairs = distance[np.triu_indices(len(rows), 1)]
    return float(np.log(np.exp(-2 * pairs).mean()))


def effective_rank(matrix: Array) -> float:
    """Exponential of the entropy of the singular values, normalised to sum 1.

    Roy and Vetterli, EUSIPCO 2007. n for n equal singular values; 0 for a matrix of zeros.
    Centre the features first to ask how many directions they vary in.

    Args:
        matrix: (n, d).
    """
    values = np.linalg.svd(np.asarray(matrix, np.float64), compute_uv=False)
    if not values.sum() > 0:
        return 0.0
    share = values / values.sum()
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))


def cell_shares(masks: Tensor, structures: int, size: tuple[int, int]) -> Tensor:
    """Share of each structure in each cell of a coarser map.

    Args:
        masks: (n, H, W) class indices, 0 the background; every pixel labelled.
        structures: number of structures; class k + 1 is structure k.
        size: height and width of the map, divisors of H and W.

    Returns:
        (n, structures, h, w) float32 in [0, 1].
    """
    window = (masks.shape[1] // size[0], masks.shape[2] // size[1])
    hot = F.one_hot(masks.long(), structures + 1)[..., 1:].movedim(-1, 1).float()
    return F.avg_pool2d(hot, window)


def held_out_r2(
    features: Array, targets: Array, groups: NDArray[np.integer], folds: int = FOLDS
) -> NDArray[np.float64]:
    """R squared of a linear probe on groups that it has not seen.

    Ridge regression on standardised features; the groups are dealt into folds, each is
    predicted from the others, and the penalty is chosen by folds among those others.
    R squared is taken against the mean of the groups that were trained on, so that 0 is
    what a probe without any feature reaches.

    Args:
        features: (n, d).
        targets: (n, t).
        groups: (n,), e.g. the patient of each row; at least two different ones.
        folds: at most; never more than there are groups.

    Returns:
        (t,); NaN for a target that does not vary.
    """
    errors, spread = np.zeros(targets.shape[1]), np.zeros(targets.shape[1])
    for train, test in _splits(groups, folds):
        inside = _splits(groups[train], folds - 1) if len(set(groups[train])) > 1 else None
        probe = make_pipeline(
            StandardScaler(),
            RidgeCV(ALPHAS, cv=inside, scoring="neg_mean_squared_error"),
        ).fit(features[train], targets[train])
        predicted = probe.predict(features[test]).reshape(len(test), -1)
        errors += ((targets[test] - predicted) ** 2).sum(axis=0)
        spread += ((targets[test] - targets[train].mean(axis=0)) ** 2).sum(axis=0)
    varies = np.ptp(targets, axis=0) > 0
    score: NDArray[np.float64] = 1 - errors / np.where(varies, spread, np.nan)
    return score


def held_out_accuracy(
    features: Array, labels: NDArray[np.integer], groups: NDArray[np.integer], folds: int = FOLDS
) -> float:
    """Balanced accuracy of a linear classifier on groups that it has not seen.

    Logistic regression on standardised features; 1 / (number of classes) is chance.

    Args:
        features: (n, d).
        labels: (n,) classes.
        groups: (n,), of which none is in training and test at once.
        folds: at most; never more than there are groups.
    """
    predicted = np.empty_like(labels)
    for train, test in _splits(groups, folds):
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
        predicted[test] = probe.fit(features[train], labels[train]).predict(features[test])
    return float(balanced_accuracy_score(labels, predicted))


def _splits(
    groups: NDArray[np.integer], folds: int
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Rows to train on and to test on, whole groups apart."""
    parts = GroupKFold(max(2, min(folds, len(set(groups.tolist())))))
    return list(parts.split(groups, groups=groups))
