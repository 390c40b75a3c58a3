"""The slice bank: all slices a stage may see, as one tensor; a batch is an index into it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from contrabench.data.prepare import PreparedCase
from contrabench.errors import AuditError, RunError
from contrabench.protocol import ORIENTATIONS, Orientation, seed_for

UNLABELLED = 255
_SHARE_OF_FREE_MEMORY = 0.4


@dataclass(frozen=True)
class SliceBank:
    """Slices with where they come from; N rows.

    Attributes:
        images: (N, 1, P, P) float32, on the training device when they fit.
        masks: (N, P, P) uint8 class indices, 255 for unlabelled slices; None if the bank
            was built without labels.
        volume: (N,) long, index of the case; a volume counts once per orientation.
        patient: (N,) long, index into `patients`.
        orientation: (N,) long, index into `ORIENTATIONS`.
        position: (N,) float, normalised position within the volume, in (0, 1].
        patients: names of the patients whose images are in the bank.
        labelled: names of the patients whose masks are in the bank.
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
        """Gathers slices and masks on the training device.

        Args:
            index: (B,) long, on the CPU.

        Returns:
            Images (B, 1, P, P) and masks (B, P, P) or None; copies, never views.
        """
        where = index.to(self.images.device)
        images = self.images[where].to(self.device, non_blocking=True)
        if self.masks is None:
            return images, None
        return images, self.masks[where].to(self.device, non_blocking=True)


def build_bank(
    cases: Sequence[PreparedCase],
    patients: Collection[str],
    labelled: Collection[str] | None,
    orientations: Sequence[Orientation],
    device: torch.device,
) -> SliceBank:
    """Builds the bank of some patients; nobody else's image or mask enters memory through it.

    Args:
        cases: prepared cases of the whole dataset.
        patients: whose images may be seen.
        labelled: whose masks may be seen; None for a stage without labels.
        orientations: cuts of each volume.
        device: the training device.

    Raises:
        AuditError: rule 2, if masks are asked of a patient outside `patients`.
        RunError: if no slice is left.
    """
    if labelled is not None and not set(labelled) <= set(patients):
        stray = sorted(set(labelled) - set(patients))
        raise AuditError(2, f"masks of {', '.join(stray)} are outside the pool of the stage")
    chosen = [case for case in cases if case.patient in set(patients)]
    names = tuple(sorted({case.patient for case in chosen}))
    images, masks, origin = [], [], []
    for number, case in enumerate(chosen):
        pixels = case.image.shape[0]
        volume = torch.from_numpy(case.image)
        visible = labelled is not None and case.patient in labelled and case.label is not None
        label = torch.from_numpy(case.label) if visible and case.label is not None else None
        for orientation in orientations:
            cut = _cut(volume, case.spacing, orientation, pixels, float(volume.min()))
            images.append(cut)
            if labelled is not None:
                masks.append(
                    torch.full(cut.shape, UNLABELLED, dtype=torch.uint8)
                    if label is None
                    else _cut(label, case.spacing, orientation, pixels, 0)
                )
            origin.append(
                (number, names.index(case.patient), ORIENTATIONS.index(orientation), len(cut))
            )
    if not images:
        raise RunError("no slice is left for this stage; the split has no patient for it")
    stacked = torch.cat(images)[:, None].contiguous()
    marks = torch.cat(masks).contiguous() if labelled is not None else None
    counts = torch.tensor([item[3] for item in origin])
    home = device if _fits(stacked, marks, device) else torch.device("cpu")
    pinned = home.type == "cpu" and device.type == "cuda"
    return SliceBank(
        images=stacked.pin_memory() if pinned else stacked.to(home),
        masks=None if marks is None else (marks.pin_memory() if pinned else marks.to(home)),
        volume=torch.arange(len(origin)).repeat_interleave(counts),
        patient=torch.tensor([item[1] for item in origin]).repeat_interleave(counts),
        orientation=torch.tensor([item[2] for item in origin]).repeat_interleave(counts),
        position=torch.cat([torch.arange(1, n + 1) / n for n in counts.tolist()]),
        patients=names,
        labelled=tuple(sorted(labelled or ())),
        device=device,
    )


def _cut(
    volume: Tensor,
    spacing: tuple[float, float, float],
    orientation: Orientation,
    pixels: int,
    fill: float,
) -> Tensor:
    """Slices of one orientation, square, (N, pixels, pixels)."""
    if orientation != "axial":
        volume = isotropic(volume, spacing)
    return fit_square(to_slices(volume, orientation), pixels, fill)


def _fits(images: Tensor, masks: Tensor | None, device: torch.device) -> bool:
    """Whether the bank takes at most a modest share of the device's free memory."""
    if device.type != "cuda":
        return True
    wanted = images.nbytes + (0 if masks is None else masks.nbytes)
    free, _ = torch.cuda.mem_get_info(device)
    return wanted <= _SHARE_OF_FREE_MEMORY * free


_AXES: dict[Orientation, tuple[int, int, int]] = {
    "axial": (2, 1, 0),
    "coronal": (1, 2, 0),
    "sagittal": (0, 2, 1),
}


def to_slices(volume: Tensor, orientation: Orientation) -> Tensor:
    """Cuts a volume (X, Y, Z) into slices (N, H, W)."""
    return volume.permute(_AXES[orientation]).flip((1, 2))


def from_axial(slices: Tensor) -> Tensor:
    """Stacks axial slices (..., Z, H, W) to a volume (..., X, Y, Z); undoes `to_slices`."""
    return slices.flip((-2, -1)).transpose(-3, -1)


def isotropic(volume: Tensor, spacing: tuple[float, float, float]) -> Tensor:
    """Stretches a volume along z until its voxels are cubes; values by nearest voxel.

    Nearest neighbours serve images and masks alike: no new label appears, and a re-sliced
    image shows what was measured rather than an invention between two slices.

    Args:
        volume: (X, Y, Z).
        spacing: voxel sides in mm, z at least as large as x.
    """
    depth = volume.shape[2]
    stretched = max(1, round(depth * spacing[2] / spacing[0]))
    if stretched == depth:
        return volume
    index = ((torch.arange(stretched) + 0.5) * depth / stretched).long().clamp(max=depth - 1)
    return volume[:, :, index]


def fit_square(slices: Tensor, pixels: int, fill: float) -> Tensor:
    """Crops or pads slices (N, H, W) about their centre to (N, pixels, pixels)."""
    for axis in (1, 2):
        size = slices.shape[axis]
        if size > pixels:
            slices = slices.narrow(axis, (size - pixels) // 2, pixels)
        elif size < pixels:
            before = (pixels - size) // 2
            shape = list(slices.shape)
            shape[axis] = before
            first = slices.new_full(shape, fill)
            shape[axis] = pixels - size - before
            slices = torch.cat((first, slices, slices.new_full(shape, fill)), dim=axis)
    return slices


PATIENTS = 4
DEPTH = 16
STRUCTURES = 7
_BLOCKS = 8


def synthetic_bank(pixels: int, labels: bool, device: torch.device, seed: int = 0) -> SliceBank:
    """Builds a bank of smooth random images with blocky random masks.

    Four patients, one volume each, cut in three orientations of 16 slices: every method
    finds its positives and negatives among them. Half of a mask is background, the rest
    is dealt evenly to seven structures.

    Args:
        pixels: side of a slice, a multiple of 8.
        labels: whether the masks are there.
        device: the training device, where the slices lie.
        seed: of the images and masks.
    """
    generator = torch.Generator().manual_seed(seed_for("synthetic", seed))
    volumes = PATIENTS * len(ORIENTATIONS)
    count = volumes * DEPTH
    coarse = torch.randn(count, 1, _BLOCKS, _BLOCKS, generator=generator)
    images = F.interpolate(coarse, size=(pixels, pixels), mode="bilinear", align_corners=False)
    images += 0.1 * torch.randn(images.shape, generator=generator)
    blocks = torch.randint(
        1 - STRUCTURES, STRUCTURES + 1, (count, _BLOCKS, _BLOCKS), generator=generator
    )
    fine = pixels // _BLOCKS
    masks = blocks.clamp(min=0).to(torch.uint8)
    masks = masks.repeat_interleave(fine, 1).repeat_interleave(fine, 2)
    names = tuple(f"synthetic_{number}" for number in range(PATIENTS))
    volume = torch.arange(volumes).repeat_interleave(DEPTH)
    return SliceBank(
        images=images.to(device),
        masks=masks.to(device) if labels else None,
        volume=volume,
        patient=volume // len(ORIENTATIONS),
        orientation=volume % len(ORIENTATIONS),
        position=(torch.arange(1, DEPTH + 1) / DEPTH).repeat(volumes),
        patients=names,
        labelled=names if labels else (),
        device=device,
    )
