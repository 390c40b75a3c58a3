"""What a run's pre-training has learned, beside what its random start already had.

Only training patients of the run's fold are looked at; of these, all labels are used,
however few the run itself was given. So the numbers explain a run and select nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contrabench.contracts.backbone import Backbone
from contrabench.contracts.views import ViewSpec
from contrabench.data.bank import SliceBank
from contrabench.errors import RequestError
from contrabench.inspection.pretrained import Pretrained
from contrabench.inspection.representation import (
    Array,
    alignment,
    cell_shares,
    effective_rank,
    held_out_accuracy,
    held_out_r2,
    on_sphere,
    uniformity,
)
from contrabench.progress import Reporter
from contrabench.protocol import ORIENTATIONS, seed_for
from contrabench.views.maker import make_views

SLICES = 768
CELLS = 8
_BATCH = 32
_POSITIONS = 8


@dataclass(frozen=True)
class TapReport:
    """What one tap of one encoder gives.

    An embedding is the mean of a slice's map, less the mean of all slices, at unit length.

    Attributes:
        encoder: `random` or `pre-trained`.
        tap: name of the feature map.
        channels: of the map.
        alignment: of two augmented views of the same slice; 0 is best.
        uniformity: of the embeddings of different slices; lower is more spread.
        effective_rank: of the centred means, out of at most `channels`.
        probe: R squared on unseen patients of the share of each structure in a cell of
            the map, from that cell's features.
        position: R squared on unseen patients of the place of a slice in its volume.
        orientation: balanced accuracy on unseen patients of telling three orientations.
        patient: balanced accuracy of telling patients on unseen stretches of their volumes.
    """

    encoder: str
    tap: str
    channels: int
    alignment: float
    uniformity: float
    effective_rank: float
    probe: dict[str, float]
    position: float
    orientation: float
    patient: float

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
    """Features to draw, one row a slice or, of a decoder's tap, a cell of its map.

    Attributes:
        features: (n, d).
        structure: (n,) the structure with the largest share, from 1; 0 where there is none.
        orientation: (n,) index into `ORIENTATIONS`.
        patient: (n,) index into the bank's patients.
        unit: `slice` or `cell`.
    """

    features: Array
    structure: NDArray[np.int64]
    orientation: NDArray[np.int64]
    patient: NDArray[np.int64]
    unit: str

    def only(self, rows: NDArray[np.int64]) -> Points:
        """Some of the points."""
        return Points(
            self.features[rows],
            self.structure[rows],
            self.orientation[rows],
            self.patient[rows],
            self.unit,
        )


class Viewer:
    """Reads features of the same slices and cells from any encoder.

    Args:
        bank: labelled slices of training patients in three orientations.
        structures: their names; class k + 1 is structure k.
        device: where networks run.
        seed: of the slices, cells and views that are drawn.
    """

    def __init__(
        self, bank: SliceBank, structures: Sequence[str], device: torch.device, seed: int = 0
    ) -> None:
        if len(bank.patients) < 2 or bank.masks is None:
            raise RequestError(
                "a probe needs two labelled training patients, one to learn from and one to be "
                "tried on; take a run with more patients or fewer folds"
            )
        self.bank, self.masks, self.structures = bank, bank.masks, tuple(structures)
        self.device, self.seed = device, seed
        self.axial = self._draw(bank.orientation == 0, SLICES)
        ways = len(ORIENTATIONS)
        each = min(SLICES // ways, *(int((bank.orientation == o).sum()) for o in range(ways)))
        self.mixed = torch.cat([self._draw(bank.orientation == o, each) for o in range(ways)])

    def _generator(self, *parts: object) -> torch.Generator:
        return torch.Generator().manual_seed(seed_for("inspect", self.seed, *parts))

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
        views = make_views(images, None, (ViewSpec(), ViewSpec()), self.seed)
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
        rows = self.mixed
        if network.last((tap, network.deepest)) == network.deepest:
            masks = self.masks[rows]
            shares = cell_shares(masks, len(self.structures), (1, 1))[..., 0, 0].numpy()
            means = self._means(network, self.bank.images[rows], tap)
            return self._points(means, shares, rows, "slice")
        features, shares = self._cells(network, tap, rows)
        rows = rows.repeat_interleave(len(features) // len(rows))
        every = self._points(features, shares, rows, "cell")
        each = SLICES // (len(self.structures) + 1)
        generator = np.random.default_rng(seed_for("inspect", self.seed, "points"))
        kept = []
        for structure in range(len(self.structures) + 1):
            found = np.flatnonzero(every.structure == structure)
            kept.append(generator.permutation(found)[:each])
        return every.only(np.sort(np.concatenate(kept)))

    def _points(self, features: Array, shares: Array, rows: Tensor, unit: str) -> Points:
        return Points(
            features=features,
            structure=np.where(shares.max(axis=1) > 0, shares.argmax(axis=1) + 1, 0),
            orientation=self.bank.orientation[rows].numpy(),
            patient=self.bank.patient[rows].numpy(),
            unit=unit,
        )

    def _maps(self, network: Backbone, images: Tensor, tap: str) -> Tensor:
        """The feature maps of a few images, float32 on the CPU."""
        with torch.inference_mode():
            maps = network.to(self.device).eval().features(images.to(self.device), (tap,))
        return maps[tap].float().cpu()

    def _means(self, network: Backbone, images: Tensor, tap: str) -> Array:
        """Means of the maps of images (n, 1, P, P), (n, channels)."""
        parts = [self._maps(network, part, tap).mean((2, 3)) for part in _batches(images)]
        means: Array = torch.cat(parts).numpy()
        return means

    def _cells(self, network: Backbone, tap: str, rows: Tensor) -> tuple[Array, Array]:
        """Features and structure shares of some cells of each map, slice by slice.

        Returns:
            (n * k, channels) and (n * k, structures), k at most `CELLS`.
        """
        features: list[Tensor] = []
        shares: list[Tensor] = []
        generator = self._generator("cells", tap)
        for part in _batches(rows):
            maps = self._maps(network, self.bank.images[part], tap)
            size = (maps.shape[2], maps.shape[3])
            held = cell_shares(self.masks[part], len(self.structures), size)
            chance = torch.rand(len(part), size[0] * size[1], generator=generator)
            place = chance.argsort(dim=1)[:, None, :CELLS]
            for found, values in ((maps, features), (held, shares)):
                flat = found.flatten(2)
                picked = flat.gather(2, place.expand(-1, flat.shape[1], -1))
                values.append(picked.transpose(1, 2).flatten(0, 1))
        return torch.cat(features).numpy(), torch.cat(shares).numpy()


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


def _batches(values: Tensor) -> Iterator[Tensor]:
    """Pieces of a tensor, small enough for the device."""
    for start in range(0, len(values), _BATCH):
        yield values[start : start + _BATCH]
