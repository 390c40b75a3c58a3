"""From a dataset's files to sound volumes in one orientation.

All faults of the input are found, each told in one line, before any training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contrabench.contracts.dataset import Case, Dataset, Structure, Volume
from contrabench.data.formats import Stored, files_of, read_volume
from contrabench.data.grid import onto_grid
from contrabench.data.likeness import Likeness, likeness_of, shared_hearts
from contrabench.errors import DataError
from contrabench.progress import Reporter
from contrabench.text import counted, some

_TOLERANCE = 1e-3
"""Largest distance between the corners of one grid in two files, as a share of the diagonal."""
_OVERLAP = 0.25
"""Least share of the first channel's grid that another channel covers."""


class NiftiDataset(Dataset):
    """Base class of datasets whose cases are files, of NIfTI or another format in `formats`."""

    def load(self, case: Case) -> Volume:
        """Reads the files of one case, in the orientation and grid in which they are stored.

        Channels are files of their own, which come to the grid of the first, or one file with a
        fourth axis. DataError with one line for each file that is missing, damaged, not a volume,
        or of another place than the first channel.
        """
        images: list[Stored] = []
        label: Stored | None = None
        faults: list[str] = []
        files = (case.image, *case.further)
        try:
            for path in files:
                count = len(self.channels) if len(files) == 1 else 1
                images.append(_read(path, "image", count, case.frame))
            image = _on_one_grid(images, case.further)
        except ValueError as error:
            faults.append(f"{case.id}: {error}")
        try:
            if case.labelled or case.label is not None:
                label = _read(case.label, "label")
        except ValueError as error:
            faults.append(f"{case.id}: {error}")
        if faults:
            raise DataError(faults, where=case.id)
        if label is None:
            return Volume(image, None, images[0][1])
        return Volume(image, label[0].astype(np.int32), images[0][1], label[1])

    def files(self, case: Case) -> list[Path]:
        """As of any dataset, with the slices of a folder, and the voxels that a header names."""
        try:
            return [file for path in super().files(case) for file in files_of(path)]
        except ValueError as error:
            raise DataError([f"{case.id}: {error}"], where=case.id) from error


def _read(path: Path | None, kind: str, channels: int = 1, frame: int | None = None) -> Stored:
    """Voxels and affine of one file, or one frame of it; what is wrong is a ValueError."""
    if path is None:
        listed = ", but the dataset lists it as labelled" if kind == "label" else ""
        raise ValueError(f"has no {kind} file{listed}")
    values, affine = read_volume(path, frame)
    if channels > 1 and (values.ndim != 4 or values.shape[3] != channels):
        raise ValueError(
            f"{path} has shape {values.shape}; the {kind} must have {channels} channels along its "
            "fourth axis, as the dataset lists them"
        )
    if channels == 1 and values.ndim != 3:
        raise ValueError(
            f"{path} has {values.ndim} dimensions {values.shape}; the {kind} must be one 3D "
            "volume, so extract the frame or channel that is meant"
            + (", or let the dataset name its channels" if kind == "image" else "")
        )
    if kind == "label" and (odd := int(np.count_nonzero(values % 1 != 0))):
        raise ValueError(
            f"the label {path} holds {odd} voxels that are no whole numbers; it was interpolated "
            "or is not a label"
        )
    return values, affine


def _on_one_grid(images: Sequence[Stored], further: Sequence[Path]) -> NDArray[np.float32]:
    """The channels of an image, those in `further` files resampled where their grid is another."""
    (first, affine), *others = images
    if not others:
        return first if first.ndim == 3 else np.moveaxis(first, 3, 0)
    channels = [first]
    for path, (values, own) in zip(further, others, strict=True):
        if fault := _flat(own, path.name) or _flat(affine, "the first channel"):
            raise ValueError(fault)
        if values.shape == first.shape and not _distance(first.shape, affine, own):
            channels.append(values)
            continue
        moved, share = onto_grid(values, own, affine, first.shape)
        if share < _OVERLAP:
            raise ValueError(
                f"{path} covers {share:.0%} of the first channel's volume; it is of another scan, "
                "or its affine is wrong"
            )
        channels.append(moved)
    return np.stack(channels)


def _flat(affine: NDArray[np.float64], what: str) -> str:
    """The fault of an affine without a volume; empty if it has one."""
    if np.isfinite(affine).all() and abs(np.linalg.det(affine)) >= 1e-9:
        return ""
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    return (
        f"the affine of {what} has no volume (voxel sides {sides.round(6)}); its geometry "
        "is unknown, so write the right one into the header"
    )


def _distance(
    shape: tuple[int, ...], one: NDArray[np.float64], other: NDArray[np.float64]
) -> float:
    """Largest distance in mm of the corners of a grid under two affines; 0 for a rounding."""
    corners = np.array([(*corner, 1) for corner in product(*((0, n) for n in shape))])
    first, second = ((corners @ affine.T)[:, :3] for affine in (one, other))
    apart = float(np.linalg.norm(first - second, axis=1).max())
    return apart if apart > _TOLERANCE * float(np.linalg.norm(first[0] - first[-1])) else 0.0


def image_words(channels: Sequence[str]) -> list[str]:
    """What errors call the channels of an image, which may have but one."""
    return ["the image"] if len(channels) == 1 else [f"channel '{name}'" for name in channels]


def canonical(volume: Volume) -> Volume:
    """Turns a volume so that its axes point right, anterior and superior (RAS).

    Axes are swapped and mirrored only, so an oblique volume keeps a small rotation in the affine.
    """
    from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

    turn = io_orientation(volume.affine)

    def turned(array: NDArray[np.generic]) -> NDArray[np.generic]:
        if array.ndim == 4:
            return np.stack([turned(channel) for channel in array])
        return np.ascontiguousarray(apply_orientation(array, turn))

    return Volume(
        image=turned(volume.image).astype(np.float32, copy=False),
        label=None if volume.label is None else turned(volume.label).astype(np.int32),
        affine=volume.affine @ inv_ornt_aff(turn, volume.image.shape[-3:]),
    )


def list_cases(dataset: Dataset) -> list[Case]:
    """Lists the cases of a dataset; DataError if there is none, and for ids that occur twice."""
    cases = dataset.cases()
    if not cases:
        raise dataset.misplaced("no case was found")
    faults = [
        f"{name}: {count} cases have this id; results could not be told apart, so rename them"
        for name, count in Counter(case.id for case in cases).items()
        if count > 1
    ]
    if faults:
        raise DataError(faults, where=dataset.info.title)
    return cases


def load_checked(dataset: Dataset, case: Case) -> Volume:
    """Reads a case and turns it to canonical orientation; DataError naming every fault."""
    try:
        volume = dataset.load(case)
    except OSError as error:
        raise DataError([f"{case.id}: cannot be read ({error})"], where=case.id) from error
    found = volume_faults(volume, dataset.structures if case.labelled else None, dataset.channels)
    if faults := list(found):
        raise DataError([f"{case.id}: {fault}" for fault in faults], where=case.id)
    return canonical(volume)


def for_each_case(
    cases: Sequence[Case],
    where: str,
    work: Callable[[Case], Likeness],
    title: str,
    reporter: Reporter,
) -> None:
    """Works through all cases; at the end DataError names every fault of every case.

    `work` returns what a case is recognised by, or raises DataError; `where` names the dataset.
    """
    faults: list[str] = []
    seen: list[tuple[Case, Likeness]] = []
    with reporter.track(title, len(cases)) as track:
        for number, case in enumerate(cases, start=1):
            try:
                seen.append((case, work(case)))
            except DataError as error:
                faults += error.faults
            track.advance(number, case.id)
    if faults := [*faults, *shared_hearts(seen)]:
        raise DataError(faults, where=where)


def check_cases(dataset: Dataset, reporter: Reporter) -> None:
    """Reads every case of a dataset and checks it; raises as `for_each_case`."""

    def check(case: Case) -> Likeness:
        return likeness_of(load_checked(dataset, case))

    for_each_case(list_cases(dataset), dataset.info.title, check, "reading cases", reporter)


def volume_faults(
    volume: Volume,
    structures: Sequence[Structure] | None,
    channels: Sequence[str] = ("image",),
) -> Iterator[str]:
    """Everything that is wrong with one volume, a line for each fault.

    `structures` are those of its label; None for a volume whose label does not matter.
    """
    image = volume.image
    if image.ndim not in (3, 4) or min(image.shape) < 1:
        yield f"the image has shape {image.shape} and is no 3D volume"
        return
    if (count := len(volume.by_channel)) != len(channels):
        yield (
            f"the image has {counted(count, 'channel')}, and the dataset lists {len(channels)} "
            f"({some(channels)}); mend the files or the list"
        )
        return
    if fault := _flat(volume.affine, "the image"):
        yield fault
    for name, channel in zip(image_words(channels), volume.by_channel, strict=True):
        if bad := int(np.count_nonzero(~np.isfinite(channel))):
            yield f"{bad} voxels of {name} are NaN or infinite; replace them"
        elif channel.min() == channel.max():
            yield f"all voxels of {name} are {channel.flat[0]}; it is not a scan"
    if structures is not None:
        yield from _label_faults(volume, structures)


def _label_faults(volume: Volume, structures: Sequence[Structure]) -> Iterator[str]:
    label, shape = volume.label, volume.image.shape[-3:]
    if label is None:
        yield "has no label, but the dataset lists it as labelled"
        return
    if label.shape != shape:
        yield (
            f"image {shape} and label {label.shape} differ in shape; one of them belongs to "
            "another volume or was resampled"
        )
    elif volume.label_affine is not None and (
        apart := _distance(shape, volume.affine, volume.label_affine)
    ):
        yield (
            f"the affines of image and label differ, by up to {apart:.1f} mm at a corner; one "
            "of them was moved, mirrored or written with another header"
        )
    known = np.isin(label, [0, *(structure.value for structure in structures)])
    for value, count in zip(*np.unique(label[~known], return_counts=True), strict=True):
        yield (
            f"label value {value} ({count} voxels) is none of "
            f"{', '.join(f'{s.value} {s.name}' for s in structures)}; mend the label or the map"
        )
    if known.all() and not label.any():
        yield (
            "the label has no foreground; an empty reference cannot be scored, so delineate it or "
            "leave the case out"
        )
