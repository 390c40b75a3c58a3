"""What a run's pre-training has learned, beside what its random start already had.

Only training patients of the run's fold are looked at, with all their labels, however few the run
itself was given. So the numbers explain a run and select nothing. A probe never sees the groups
(patients) that it is scored on, neither for its weights nor for its regularisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from contrabench.contracts.backbone import Backbone
from contrabench.contracts.views import ViewSpec
from contrabench.data.bank import SliceBank
from contrabench.errors import RequestError
from contrabench.inspection.pretrained import Pretrained
from contrabench.progress import Reporter
from contrabench.protocol import ORIENTATIONS, seed_for
from contrabench.views.maker import make_views

Array = NDArray[np.floating]
Labels = NDArray[np.integer]

SLICES = 768
CELLS = 8
_ALPHAS = tuple(10.0**power for power in range(-1, 6))
"""Ridge penalties tried, for standardised features."""
_FOLDS = 4
_BATCH = 32
_POSITIONS = 8
_SEED = 0
"""Of the slices, cells and views that are drawn."""


def on_sphere(features: Array) -> NDArray[np.float64]:
    """Divides each row (n, d) by its Euclidean length; a row of zeros stays."""
    rows = np.asarray(features, np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1.0)


def alignment(first: Array, second: Array) -> float:
    """Mean squared distance of embeddings (n, d), of unit length, of two views of the same images.

    Wang and Isola, ICML 2020, arXiv 2005.10242, with alpha = 2. 0 is best; two
    independent points of a sphere about the origin are 2 apart on average.
    """
    return float(((first - second) ** 2).sum(axis=1).mean())


def uniformity(points: Array) -> float:
    """Logarithm of the mean Gaussian potential of all pairs of different points.

    log mean_{i != j} exp(-2 |z_i - z_j|^2), Wang and Isola, ICML 2020, with t = 2. 0 where
    all points are one; in high dimensions it tends to -4 for points spread evenly. Points are
    (n, d), of unit length, n at least 2.
    """
    rows = np.asarray(points, np.float64)
    squares = (rows**2).sum(axis=1)
    distance = np.maximum(squares[:, None] + squares[None] - 2 * rows @ rows.T, 0.0)
    pairs = distance[np.triu_indices(len(rows), 1)]
    return float(np.log(np.exp(-2 * pairs).mean()))


def effective_rank(matrix: Array) -> float:
    """Exponential of the entropy of the singular values of (n, d), normalised to sum 1.

    Roy and Vetterli, EUSIPCO 2007. n for n equal singular values; 0 for a matrix of zeros.
    Centre the features first to ask how many directions they vary in.
    """
    values = np.linalg.svd(np.asarray(matrix, np.float64), compute_uv=False)
    if not values.sum() > 0:
        return 0.0
    share = values / values.sum()
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))


def cell_shares(masks: Tensor, structures: int, size: tuple[int, int]) -> Tensor:
    """Share of each structure in each cell of a coarser map, (n, structures, h, w) in [0, 1].

    `masks` are (n, H, W) class indices, class k + 1 for structure k, 0 the background; every pixel
    is labelled. `size` is height and width of the map, divisors of H and W.
    """
    window = (masks.shape[1] // size[0], masks.shape[2] // size[1])
    hot = F.one_hot(masks.long(), structures + 1)[..., 1:].movedim(-1, 1).float()
    return F.avg_pool2d(hot, window)


def held_out_r2(features: Array, targets: Array, groups: Labels) -> NDArray[np.float64]:
    """R squared of a linear probe, for each column of targets, on groups that it has not seen.

    Ridge regression on standardised features; the groups are dealt into folds, each is
    predicted from the others, and the penalty is chosen by folds among those others.
    R squared is taken against the mean of the groups that were trained on, so that 0 is
    what a probe without any feature reaches; NaN for a target that does not vary.

    Takes (n, d), (n, t) and (n,), e.g. the patient of each row, at least two of them; gives (t,).
    """
    errors, spread = np.zeros(targets.shape[1]), np.zeros(targets.shape[1])
    for train, test in _splits(groups, _FOLDS):
        inside = _splits(groups[train], _FOLDS - 1) if len(set(groups[train])) > 1 else None
        probe = make_pipeline(
            StandardScaler(),
            RidgeCV(_ALPHAS, cv=inside, scoring="neg_mean_squared_error"),
        ).fit(features[train], targets[train])
        predicted = probe.predict(features[test]).reshape(len(test), -1)
        errors += ((targets[test] - predicted) ** 2).sum(axis=0)
        spread += ((targets[test] - targets[train].mean(axis=0)) ** 2).sum(axis=0)
    varies = np.ptp(targets, axis=0) > 0
    score: NDArray[np.float64] = 1 - errors / np.where(varies, spread, np.nan)
    return score


def held_out_accuracy(features: Array, labels: Labels, groups: Labels) -> float:
    """Balanced accuracy of a linear classifier on groups that it has not seen.

    Logistic regression on standardised features; 1 / (number of classes) is chance. Takes
    (n, d), (n,) classes and (n,) groups, of which none is in training and test at once.
    """
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    predicted = cross_val_predict(probe, features, labels, cv=_splits(groups, _FOLDS))
    return float(balanced_accuracy_score(labels, predicted))


def _splits(groups: Labels, folds: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Rows to train on and to test on, whole groups apart, in at most so many folds."""
    parts = GroupKFold(max(2, min(folds, len(set(groups.tolist())))))
    return list(parts.split(groups, groups=groups))


@dataclass(frozen=True)
class TapReport:
    """What one tap of one encoder gives.

    An embedding is the mean of a slice's map, less the mean of all slices, at unit length. Probes
    are scored on unseen patients: by R squared, or balanced accuracy.
    """

    encoder: str  # `random` or `pre-trained`
    tap: str
    channels: int
    alignment: float  # of two augmented views of the same slice; 0 is best
    uniformity: float  # of the embeddings of different slices; lower is more spread
    effective_rank: float  # of the centred means, out of at most `channels`
    probe: dict[str, float]  # R2 of each structure's share of a cell, from the cell's features
    position: float  # R2 of the place of a slice in its volume
    orientation: float  # accuracy of telling three orientations
    patient: float  # accuracy of telling patients, on unseen stretches of their volumes

    @property
    def probe_mean(self) -> float:
        """Mean over the structures that occur."""
        return float(np.nanmean(list(self.probe.values())))

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON-like data; a number that there is not is null."""
        probe = {name: value if np.isfinite(value) else None for name, value in self.probe.items()}
        return {**asdict(self), "probe": probe, "probe_mean": self.probe_mean}


@dataclass(frozen=True)
class Points:
    """Features to draw, one row a slice or, of a decoder's tap, a cell of its map."""

    features: Array  # (n, d)
    structure: NDArray[np.int64]  # (n,) the one with the largest share, from 1; 0: there is none
    orientation: NDArray[np.int64]  # (n,) index into `ORIENTATIONS`
    patient: NDArray[np.int64]  # (n,) index into the bank's patients
    unit: str  # `slice` or `cell`


class Viewer:
    """Reads features of the same slices and cells from any encoder.

    The bank has labelled slices of training patients in three orientations; RequestError if there
    are fewer than two patients. Class k + 1 is structure k.
    """

    def __init__(self, bank: SliceBank, structures: Sequence[str], device: torch.device) -> None:
        if len(bank.patients) < 2 or bank.masks is None:
            raise RequestError(
                "a probe needs two labelled training patients, one to learn from and one to be "
                "tried on; take a run with more patients or fewer folds"
            )
        self.bank, self.masks, self.structures = bank, bank.masks, tuple(structures)
        self.device = device
        self.axial = self._draw(bank.orientation == 0, SLICES)
        ways = len(ORIENTATIONS)
        each = min(SLICES // ways, *(int((bank.orientation == o).sum()) for o in range(ways)))
        self.mixed = torch.cat([self._draw(bank.orientation == o, each) for o in range(ways)])

    def _generator(self, *parts: object) -> torch.Generator:
        return torch.Generator().manual_seed(seed_for("inspect", _SEED, *parts))

    def _draw(self, where: Tensor, count: int) -> Tensor:
        """Up to `count` rows of the bank among those marked, in order."""
        rows = where.nonzero()[:, 0]
        chosen = torch.randperm(len(rows), generator=self._generator("slices"))[:count]
        return rows[chosen.sort().values]

    def chance(self) -> dict[str, float]:
        """The accuracies of guessing, to read the reports beside."""
        return {"orientation": 1 / len(ORIENTATIONS), "patient": 1 / len(self.bank.patients)}

    def report(self, network: Backbone, encoder: str, tap: str) -> TapReport:
        """All numbers of one tap."""
        bank = self.bank
        images = bank.images[self.axial]
        views = make_views(images, None, (ViewSpec(), ViewSpec()), _SEED)
        raw = [self._means(network, view.image, tap) for view in views]
        # The means follow a rectifier and share a large part, which would hide the rest.
        shared = np.concatenate(raw).mean(axis=0)
        first, second = (on_sphere(values - shared) for values in raw)
        means = self._means(network, images, tap)
        cells, shares = self._cells(network, tap, self.axial)
        patient = bank.patient[self.axial].numpy()
        position = bank.position[self.axial].numpy()
        block = np.ceil(position * _POSITIONS).astype(np.int64)
        r2 = held_out_r2(cells, shares, patient.repeat(len(cells) // len(patient)))
        return TapReport(
            encoder=encoder,
            tap=tap,
            channels=network.channels[tap],
            alignment=alignment(first, second),
            uniformity=(uniformity(first) + uniformity(second)) / 2,
            effective_rank=effective_rank(means - means.mean(axis=0)),
            probe=dict(zip(self.structures, r2.tolist(), strict=True)),
            position=float(held_out_r2(means, position[:, None], patient)[0]),
            orientation=held_out_accuracy(
                self._means(network, bank.images[self.mixed], tap),
                bank.orientation[self.mixed].numpy(),
                bank.patient[self.mixed].numpy(),
            ),
            patient=held_out_accuracy(means, patient, block),
        )

    def points(self, network: Backbone, tap: str) -> Points:
        """What a picture of one tap shows, from slices of three orientations.

        A tap behind the deepest shows cells, equally many of each structure where there are enough.
        """
        rows, unit = self.mixed, "slice"
        if network.last((tap, network.deepest)) == network.deepest:
            masks = self.masks[rows]
            shares = cell_shares(masks, len(self.structures), (1, 1))[..., 0, 0].numpy()
            features = self._means(network, self.bank.images[rows], tap)
        else:
            features, shares = self._cells(network, tap, rows)
            rows, unit = rows.repeat_interleave(len(features) // len(rows)), "cell"
        structure = np.where(shares.max(axis=1) > 0, shares.argmax(axis=1) + 1, 0)
        kept = np.arange(len(features))
        if unit == "cell":
            generator = np.random.default_rng(seed_for("inspect", _SEED, "points"))
            alike = [np.flatnonzero(structure == n) for n in range(len(self.structures) + 1)]
            some = [generator.permutation(places)[: SLICES // len(alike)] for places in alike]
            kept = np.sort(np.concatenate(some))
        return Points(
            features[kept],
            structure[kept],
            self.bank.orientation[rows].numpy()[kept],
            self.bank.patient[rows].numpy()[kept],
            unit,
        )

    def _maps(self, network: Backbone, images: Tensor, tap: str) -> Tensor:
        """The feature maps of a few images, float32 on the CPU."""
        with torch.inference_mode():
            maps = network.to(self.device).eval().features(images.to(self.device), (tap,))
        return maps[tap].float().cpu()

    def _means(self, network: Backbone, images: Tensor, tap: str) -> Array:
        """Means of the maps of images (n, C, P, P), (n, channels)."""
        parts = [
            self._maps(network, part, tap).mean((2, 3)) for part in torch.split(images, _BATCH)
        ]
        means: Array = torch.cat(parts).numpy()
        return means

    def _cells(self, network: Backbone, tap: str, rows: Tensor) -> tuple[Array, Array]:
        """Features and structure shares of some cells of each map, slice by slice.

        (n * k, channels) and (n * k, structures), k at most `CELLS`.
        """
        picked: tuple[list[Tensor], list[Tensor]] = ([], [])
        generator = self._generator("cells", tap)
        for part in torch.split(rows, _BATCH):
            maps = self._maps(network, self.bank.images[part], tap)
            size = (maps.shape[2], maps.shape[3])
            held = cell_shares(self.masks[part], len(self.structures), size)
            chance = torch.rand(len(part), size[0] * size[1], generator=generator)
            place = chance.argsort(dim=1)[:, None, :CELLS]
            for found, cells in zip((maps, held), picked, strict=True):
                flat = found.flatten(2)
                values = flat.gather(2, place.expand(-1, flat.shape[1], -1))
                cells.append(values.transpose(1, 2).flatten(0, 1))
        features, shares = (torch.cat(cells).numpy() for cells in picked)
        return features, shares


def compare(
    pretrained: Pretrained, viewer: Viewer, taps: Sequence[str], reporter: Reporter
) -> list[TapReport]:
    """Reports on each tap, of the random encoder first and then of the pre-trained one."""
    networks = pretrained.networks()
    pairs = [(tap, name) for tap in taps for name in networks]
    found = []
    with reporter.track("features and probes", len(pairs)) as track:
        for number, (tap, name) in enumerate(pairs, start=1):
            found.append(viewer.report(networks[name], name, tap))
            track.advance(number, f"{tap}, {name}")
    return found
