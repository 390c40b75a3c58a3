"""The slice bank: all slices a stage may see, as one tensor; a batch is an index into it.

Volumes are (X, Y, Z) in RAS orientation, channel by channel. Slices follow the radiological
convention: axial with the anterior side up, coronal and sagittal with the head up. Of a stack that
was acquired along another axis these names are those of its own axes: axial is its own slices.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from contrabench.contracts.views import IGNORE
from contrabench.data.prepare import PreparedCase
from contrabench.errors import AuditError, RunError
from contrabench.protocol import ORIENTATIONS, Orientation

_AXES: dict[Orientation, tuple[int, int, int]] = {
    "axial": (2, 1, 0),
    "coronal": (1, 2, 0),
    "sagittal": (0, 2, 1),
}
_SHARE_OF_FREE_MEMORY = 0.4


@dataclass(frozen=True)
class SliceBank:
    """Slices with where they come from; N rows.

    Attributes:
        images: (N, C, P, P) float32, on the training device when they fit, else on the CPU.
        masks: (N, P, P) uint8 class indices, `IGNORE` for unlabelled slices; None if the bank
            was built without labels.
        volume: (N,) long, index of the case; a volume counts once per orientation.
        patient: (N,) long, index into `patients`.
        orientation: (N,) long, index into `ORIENTATIONS`.
        position: (N,) float, normalised position within the volume, in (0, 1].
        patients: names of those whose images are in the bank, `labelled` whose masks are.
        device: where batches are wanted.
    """

    images: Tensor
    masks: Tensor | None
    volume: Tensor
    patient: Tensor
    orientation: Tensor
    position: Tensor
    patients: tuple[str, ...]
    labelled: tuple[str, ...]
    device: torch.device

    def __len__(self) -> int:
        """Number of slices."""
        return int(self.images.shape[0])

    def take(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """Copies of rows (B,), given where the images are, never views.

        Images (B, C, P, P) and masks (B, P, P) or None.
        """
        return self.images[index], None if self.masks is None else self.masks[index]


def build_bank(
    cases: Sequence[PreparedCase],
    labelled: Collection[str] | None,
    orientations: Sequence[Orientation],
    device: torch.device,
) -> SliceBank:
    """Builds the bank of some cases; nobody else's image or mask enters memory through it.

    Masks are those of the `labelled` patients; None for a stage without labels. AuditError, rule 2,
    if one of them has no case here; RunError if no slice is left.
    """
    if stray := sorted(set(labelled or ()) - {case.patient for case in cases}):
        raise AuditError(2, f"masks of {', '.join(stray)} are outside the pool of the stage")
    if not cases:
        raise RunError("no slice is left for this stage; the split has no patient for it")
    names = tuple(sorted({case.patient for case in cases}))
    cuts = [(case, orientation) for case in cases for orientation in orientations]
    parts = [image_slices(case, orientation) for case, orientation in cuts]
    images, masks = torch.cat(parts).contiguous(), None
    if labelled is not None:
        masks = torch.cat(
            [mask_slices(case, cut, case.patient in labelled) for case, cut in cuts]
        ).contiguous()
    home = device if _fits(images, masks, device) else torch.device("cpu")
    counts = torch.tensor([len(part) for part in parts])

    def each(numbers: list[int]) -> Tensor:
        return torch.tensor(numbers).repeat_interleave(counts)

    return SliceBank(
        images=images.to(home),
        masks=None if masks is None else masks.to(home),
        volume=each(list(range(len(cuts)))),
        patient=each([names.index(case.patient) for case, _ in cuts]),
        orientation=each([ORIENTATIONS.index(orientation) for _, orientation in cuts]),
        position=torch.cat([torch.arange(1, n + 1) / n for n in counts.tolist()]),
        patients=names,
        labelled=tuple(sorted(labelled or ())),
        device=device,
    )


def spoil(bank: SliceBank, what: Literal["nothing", "images", "masks"], seed: int) -> SliceBank:
    """A bank for a control: white noise of deviation 1 for its images, or masks of other patients.

    Each slice with a mask gets that of a slice of another patient, drawn at random, or of any where
    there is no other.
    """
    draw = torch.Generator().manual_seed(seed)
    if what == "images":
        noise = torch.randn(bank.images.shape, generator=draw).to(bank.images.device)
        return replace(bank, images=noise)
    if what == "nothing" or bank.masks is None:
        return bank
    known = torch.tensor([name in bank.labelled for name in bank.patients])[bank.patient]
    masks = bank.masks.clone()
    for patient in set(bank.patient[known].tolist()):
        own = (known & (bank.patient == patient)).nonzero()[:, 0]
        others = (known & (bank.patient != patient)).nonzero()[:, 0]
        others = others if len(others) else own
        dealt = others[torch.randint(len(others), (len(own),), generator=draw)]
        masks[own.to(masks.device)] = bank.masks[dealt.to(masks.device)]
    return replace(bank, masks=masks)


def image_slices(case: PreparedCase, orientation: Orientation) -> Tensor:
    """The slices of a case, (N, C, P, P); beyond the volume they hold a channel's lowest value."""
    channels = [
        _cut(volume, case.spacing, orientation, float(volume.min()))
        for volume in torch.from_numpy(case.by_channel)
    ]
    return torch.stack(channels, dim=1)


def mask_slices(case: PreparedCase, orientation: Orientation, visible: bool) -> Tensor:
    """The masks of `image_slices`, (N, P, P); `IGNORE` where there are none to be seen."""
    if visible and case.label is not None:
        return _cut(torch.from_numpy(case.label), case.spacing, orientation, 0)
    # A view of the image costs no memory, and cuts into as many slices.
    unseen = torch.full((), IGNORE, dtype=torch.uint8).expand(case.image.shape[-3:])
    return _cut(unseen, case.spacing, orientation, IGNORE)


def _cut(
    volume: Tensor, spacing: tuple[float, float, float], orientation: Orientation, fill: float
) -> Tensor:
    """Slices of one orientation, (N, P, P) with P the volume's side."""
    pixels = volume.shape[0]
    if orientation != "axial":
        volume = isotropic(volume, spacing)
    return fit_square(to_slices(volume, orientation), pixels, fill)


def to_slices(volume: Tensor, orientation: Orientation) -> Tensor:
    """Cuts a volume (X, Y, Z) into slices (N, H, W)."""
    return volume.permute(_AXES[orientation]).flip((1, 2))


def from_axial(slices: Tensor) -> Tensor:
    """Stacks axial slices (..., Z, H, W) to a volume (..., X, Y, Z); undoes `to_slices`."""
    return slices.flip((-2, -1)).transpose(-3, -1)


def isotropic(volume: Tensor, spacing: tuple[float, float, float]) -> Tensor:
    """Stretches a volume along z, where voxels are at least as long as in x, until they are cubes.

    By nearest voxel, images and masks alike: no new label appears, and a re-sliced image shows
    what was measured rather than an invention between two slices.
    """
    depth = volume.shape[2]
    stretched = max(1, round(depth * spacing[2] / spacing[0]))
    if stretched == depth:
        return volume
    index = ((torch.arange(stretched) + 0.5) * depth / stretched).long().clamp(max=depth - 1)
    return volume[:, :, index]


def fit_square(slices: Tensor, pixels: int, fill: float) -> Tensor:
    """Crops or pads slices (N, H, W) about their centre to (N, pixels, pixels)."""
    margins: list[int] = []
    for size in (slices.shape[2], slices.shape[1]):
        before = (pixels - size) // 2 if size < pixels else -((size - pixels) // 2)
        margins += [before, pixels - size - before]
    return F.pad(slices, margins, value=fill) if any(margins) else slices


def _fits(images: Tensor, masks: Tensor | None, device: torch.device) -> bool:
    """Whether the bank takes at most a modest share of the device's free memory."""
    if device.type != "cuda":
        return True
    wanted = images.nbytes + (0 if masks is None else masks.nbytes)
    free, _ = torch.cuda.mem_get_info(device)
    return wanted <= _SHARE_OF_FREE_MEMORY * free
