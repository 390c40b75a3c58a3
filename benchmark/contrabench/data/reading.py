"""From a dataset's files to sound volumes in one orientation.

All faults of the input are found, each told in one line, before any training.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from contrabench.contracts.dataset import Case, Dataset, Note, Structure, Volume
from contrabench.contracts.views import IGNORE
from contrabench.data.formats import files_of, read_volume
from contrabench.data.geometry import affine_fault, canonical, corner_distance
from contrabench.data.grid import onto_grid
from contrabench.data.likeness import Likeness, shared_hearts
from contrabench.data.nifti import Stored
from contrabench.errors import DataError
from contrabench.progress import Reporter
from contrabench.text import counted, some

T = TypeVar("T")
_AT_ONCE = 4
"""Volumes that are in memory at the same time, a gigabyte each if they are large."""
_WHOLE = 2**53
"""From here on not every whole number is a float."""
_NAMED = 10
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
        first, notes = images[0], [note for one in images for note in one.notes]
        if label is None:
            return Volume(image, None, first.affine, notes=tuple(dict.fromkeys(notes)))
        notes += [
            Note(f"of the label, {note.what}", note.detail)
            for note in label.notes
            if note not in notes
        ]
        whole = tuple(dict.fromkeys(notes))
        return Volume(image, label.values, first.affine, label.affine, whole)

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
    found = read_volume(path, frame, exact=kind == "label")
    values = found.values
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
    if kind == "label" and values.dtype.kind == "f":
        if odd := int(np.count_nonzero(values % 1 != 0)):
            raise ValueError(
                f"the label {path} holds {odd} voxels that are no whole numbers; it was "
                "interpolated or is not a label"
            )
        if (largest := float(np.abs(values).max())) >= _WHOLE:
            raise ValueError(
                f"the label {path} holds values up to {largest:g}, which its data type cannot tell "
                "from their neighbours; save it as integers"
            )
        found = found._replace(values=values.astype(np.int32 if largest < 2**31 else np.int64))
    return found


def _on_one_grid(images: Sequence[Stored], further: Sequence[Path]) -> NDArray[np.float32]:
    """The channels of an image, those in `further` files resampled where their grid is another."""
    (first, affine, _), *others = images
    if not others:
        return first if first.ndim == 3 else np.moveaxis(first, 3, 0)
    channels = [first]
    for path, (values, own, _) in zip(further, others, strict=True):
        if fault := affine_fault(own, path.name) or affine_fault(affine, "the first channel"):
            raise ValueError(fault)
        if values.shape == first.shape and not corner_distance(first.shape, affine, own):
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


def image_words(channels: Sequence[str]) -> list[str]:
    """What errors call the channels of an image, which may have but one."""
    return ["the image"] if len(channels) == 1 else [f"channel '{name}'" for name in channels]


def list_cases(dataset: Dataset) -> list[Case]:
    """Lists the cases of a dataset.

    DataError if there is none or they cannot be listed, for ids that occur twice, and for those
    that cannot be written into a table.
    """
    try:
        cases = dataset.cases()
    except OSError as error:
        raise dataset.misplaced(
            f"{error.filename or dataset.root} cannot be read ({error.strerror or error})"
        ) from error
    if not cases:
        raise dataset.misplaced("no case was found")
    faults = [
        f"{name}: {count} cases have this id; results could not be told apart, so rename them"
        for name, count in Counter(case.id for case in cases).items()
        if count > 1
    ]
    faults += [
        f"{case.id!a}: its name holds characters that are no text; rename its files"
        for case in cases
        if not (case.id.isprintable() and case.patient.isprintable())
    ]
    if faults:
        raise DataError(faults, where=dataset.info.title)
    return cases


def checked_structures(dataset: Dataset) -> tuple[Structure, ...]:
    """The structures of a dataset; DataError if there is none or more than masks can tell."""
    structures = dataset.structures
    if not 0 < len(structures) < IGNORE:
        raise DataError(
            [
                f"there are {counted(len(structures), 'structure')}, and masks can tell 1 to "
                f"{IGNORE - 1} ({IGNORE} marks what is not labelled); name those that are meant"
            ],
            where=dataset.info.title,
        )
    return structures


def read_checked(dataset: Dataset, case: Case) -> Volume:
    """Reads a case as it is stored; DataError naming every fault."""
    try:
        volume = dataset.load(case)
    except OSError as error:
        raise DataError([f"{case.id}: cannot be read ({error})"], where=case.id) from error
    structures, image = dataset.structures if case.labelled else None, str(case.image or "")
    found = volume_faults(volume, structures, dataset.channels, dataset.sides_mm, image)
    if faults := list(found):
        raise DataError([f"{case.id}: {fault}" for fault in faults], where=case.id)
    return volume


def load_checked(dataset: Dataset, case: Case) -> Volume:
    """Reads a case and turns it to canonical orientation; DataError naming every fault."""
    return canonical(read_checked(dataset, case))


def for_each_case(
    cases: Sequence[Case],
    where: str,
    work: Callable[[Case], tuple[T, Likeness]],
    title: str,
    reporter: Reporter,
) -> list[T]:
    """Works through all cases, a few at a time, and gives the results in the order of the cases.

    `work` returns its result and what the case is recognised by, or raises DataError; `where` names
    the dataset. At the end DataError names every fault of every case.
    """
    faults: list[str] = []
    done: list[T] = []
    seen: list[tuple[Case, Likeness]] = []
    # Threads: unpacking and resampling need no interpreter, and a dataset's code any process.
    pool = ThreadPoolExecutor(min(_AT_ONCE, os.cpu_count() or 1), "cases")
    try:
        begun = [pool.submit(work, case) for case in cases]
        with reporter.track(title, len(cases)) as track:
            for number, (case, future) in enumerate(zip(cases, begun, strict=True), start=1):
                try:
                    result, likeness = future.result()
                    done.append(result)
                    seen.append((case, likeness))
                except DataError as error:
                    faults += error.faults
                track.advance(number, case.id)
    finally:
        pool.shutdown(cancel_futures=True)
    if faults := [*faults, *shared_hearts(seen)]:
        raise DataError(faults, where=where)
    return done


def volume_faults(
    volume: Volume,
    structures: Sequence[Structure] | None,
    channels: Sequence[str] = ("image",),
    sides_mm: tuple[float, float] = (0, np.inf),
    file: str = "",
) -> Iterator[str]:
    """Everything that is wrong with one volume, a line for each fault.

    `structures` are those of its label; None for a volume whose label does not matter. Sides of a
    voxel lie within `sides_mm`; `file` is the image's, where it has one.
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
    if fault := affine_fault(volume.affine, file or "the image", sides_mm):
        decided = (f"{what} ({detail})" if detail else what for what, detail in volume.notes)
        yield "; ".join([fault, *decided])
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
        apart := corner_distance(shape, volume.affine, volume.label_affine)
    ):
        yield (
            f"the affines of image and label differ, by up to {apart:.1f} mm at a corner; one "
            "of them was moved, mirrored or written with another header"
        )
    known = np.isin(label, [0, *(structure.value for structure in structures)])
    values, counts = np.unique(label[~known], return_counts=True)
    names = some((f"{structure.value} {structure.name}" for structure in structures), _NAMED)
    for value, count in list(zip(values, counts, strict=True))[:_NAMED]:
        yield (
            f"label value {value} ({count} voxels) is none of {names}; mend the label or the map"
        )
    if len(values) > _NAMED:
        yield (
            f"{len(values) - _NAMED} more label values, up to {values[-1]}, are none of them; is "
            "it a label at all?"
        )
    if known.all() and not label.any():
        yield (
            "the label has no foreground; an empty reference cannot be scored, so delineate it or "
            "leave the case out"
        )
