"""Preparation of a volume: brought to the working grid and normalised, in a folder of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from contrabench.contracts.dataset import Case, Dataset, Note, Structure
from contrabench.data.geometry import acquired
from contrabench.data.grid import (
    WorkingGrid,
    covered,
    inside_field,
    resample_image,
    resample_label,
    working_grid,
)
from contrabench.data.likeness import Likeness, likeness_of
from contrabench.data.nifti import sides_words
from contrabench.data.reading import image_words, load_checked
from contrabench.errors import DataError, RunError
from contrabench.files import save_array
from contrabench.protocol import DataRecipe

PREPARE_VERSION = 3
"""Raised whenever the same files and recipe give other arrays."""
_META, _PATTERN = "meta.json", "pattern.npy"
_ONE_READER = threading.Lock()
"""Threads open cases, and numpy reads the head of an array with Python's own parser, of which two
at once end in a SystemError now and then before Python 3.12 (python/cpython issue 106905)."""


@dataclass(frozen=True, eq=False)
class PreparedCase:
    """One case as the network sees it, with the way back to its native grid.

    Attributes:
        image: (pixels, pixels, Z) float32, or (C, pixels, pixels, Z) of several channels, each
            clipped and z-scored within the field of view, in RAS orientation or with the axis of
            acquisition as the third (`acquired`); mapped from disk, changes stay in memory.
        label: class indices on the same grid, 0 the background and k+1 structure k; None
            for an unlabelled case.
        spacing: working voxel sides in mm.
        affine: working voxel index to world, 4 x 4; `native_affine` and `native_shape` are
            of the native grid with the same axes.
        fingerprint: hash of everything the arrays depend on: files, dataset code and
            options, structures, recipe, pixels, and the version of the preparation.
        image_hash: of the voxels as they were read.
        outside: share of the reference's foreground that lies outside the field of view.
        notes: what was decided in reading it, and what it lost on the way.
        pool: the other dataset that it was taken from for its image alone; "" for the run's own.
    """

    case: str
    patient: str
    labelled: bool
    image: NDArray[np.float32]
    label: NDArray[np.uint8] | None
    spacing: tuple[float, float, float]
    affine: NDArray[np.float64]
    native_affine: NDArray[np.float64]
    native_shape: tuple[int, int, int]
    fingerprint: str
    image_hash: str
    outside: float
    folder: Path = field(repr=False)
    pool: str = ""
    notes: tuple[Note, ...] = ()

    @cached_property
    def likeness(self) -> Likeness:
        """Of the volume as it was read, to recognise the same heart under two names."""
        return Likeness(self.image_hash, _load(self.folder / _PATTERN))

    @property
    def as_case(self) -> Case:
        """The case without its files."""
        return Case(self.case, self.patient, labelled=self.labelled)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travels to another process as the name of its folder, not as its voxels."""
        return open_case, (self.as_case, self.folder, self.pool)

    @cached_property
    def classes(self) -> frozenset[int]:
        """The structures that its label shows on the working grid, k+1 for structure k."""
        return frozenset() if self.label is None else frozenset(np.unique(self.label[...])) - {0}

    @property
    def by_channel(self) -> NDArray[np.float32]:
        """The image as (C, pixels, pixels, Z), of however many channels."""
        return self.image.reshape(-1, *self.image.shape[-3:])

    def native_label(self) -> NDArray[np.uint8]:
        """Reads the reference on the native grid, in canonical orientation; RunError if none."""
        if not self.labelled:
            raise RunError(f"{self.case} is unlabelled and has no reference to compare with")
        with np.load(self.folder / "native_label.npz") as file:
            label: NDArray[np.uint8] = file["label"]
        return label


def prepare_case(dataset: Dataset, case: Case, pixels: int, work: Path) -> None:
    """Fills the folder of one case; DataError naming every fault of its files.

    `pixels` is the working grid's side in voxels.
    """
    recipe = dataset.recipe
    canonical = load_checked(dataset, case)
    # Before axes are swapped by their sides, which may be wrong in a copy.
    likeness = likeness_of(canonical)
    volume = acquired(canonical)
    x, y, z = volume.image.shape[-3:]
    grid = working_grid((x, y, z), volume.affine, recipe.field_of_view_mm, pixels)
    if fault := _too_thin(grid):
        raise DataError([f"{case.id}: {fault}"], where=case.id)
    named = zip(image_words(dataset.channels), volume.by_channel, strict=True)
    channels = [
        normalise(resample_image(channel, grid), grid, recipe, f"{case.id}: {name}")
        for name, channel in named
    ]
    save_array(work / "image.npy", channels[0] if len(channels) == 1 else np.stack(channels))
    outside, notes = 0.0, list(volume.notes)
    if case.labelled and volume.label is not None:
        laid = lay_label(volume.label, dataset.structures, grid)
        save_array(work / "label.npy", laid.working)
        np.savez_compressed(work / "native_label.npz", label=laid.native)
        outside = laid.outside
        notes += [
            Note(f"'{name}' is gone at the working resolution of {pixels} pixels")
            for name in laid.gone
        ]
    save_array(work / _PATTERN, likeness.pattern)
    meta = {
        "case": case.id,
        "image_hash": likeness.voxels,
        "spacing": grid.spacing,
        "affine": grid.affine.tolist(),
        "native_affine": volume.affine.tolist(),
        "native_shape": grid.native_shape,
        "outside": outside,
        "notes": notes,
    }
    (work / _META).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")


def open_case(case: Case, home: Path, pool: str = "") -> PreparedCase:
    """Maps a finished folder; copy-on-write, so that no reader can change it."""
    meta = json.loads((home / _META).read_text(encoding="utf-8"))
    return PreparedCase(
        case=case.id,
        patient=case.patient,
        labelled=case.labelled,
        image=_load(home / "image.npy", mapped=True),
        label=_load(home / "label.npy", mapped=True) if case.labelled else None,
        spacing=tuple(meta["spacing"]),
        affine=np.array(meta["affine"]),
        native_affine=np.array(meta["native_affine"]),
        native_shape=tuple(meta["native_shape"]),
        fingerprint=home.name,
        image_hash=meta["image_hash"],
        outside=meta["outside"],
        folder=home,
        pool=pool,
        notes=tuple(Note(*note) for note in meta.get("notes", ())),
    )


def _load(file: Path, mapped: bool = False) -> NDArray[Any]:
    """An array from disk, or mapped there, whose changes stay in memory."""
    with _ONE_READER:
        found: NDArray[Any] = np.load(file, mmap_mode="c" if mapped else None)
    return found


def cases_of(cases: Iterable[PreparedCase], patients: Collection[str]) -> list[PreparedCase]:
    """The cases of some patients, in their order."""
    return [case for case in cases if case.patient in patients]


def _too_thin(grid: WorkingGrid) -> str:
    """The fault of a volume between two pixels, along one of its axes; empty if it has none."""
    if all(map(np.any, map(covered, grid.positions, grid.native_shape))):
        return ""
    native = (side / step for side, step in zip(grid.spacing, grid.steps, strict=True))
    extent = tuple(n * side for n, side in zip(grid.native_shape, native, strict=True))
    return (
        f"the image measures {sides_words(extent)} mm, too little for pixels of "
        f"{grid.spacing[0]:.3g} mm; choose a smaller field of view, or leave it out"
    )


class LaidLabel(NamedTuple):
    """A label as class indices on the native grid and on the working one.

    `outside` is the share of its foreground outside the field of view, `gone` are the structures
    inside of it that the working grid is too coarse for.
    """

    native: NDArray[np.uint8]
    working: NDArray[np.uint8]
    outside: float
    gone: tuple[str, ...]


def lay_label(
    label: NDArray[np.integer], structures: tuple[Structure, ...], grid: WorkingGrid
) -> LaidLabel:
    """Lays a publisher's label (X, Y, Z), with foreground, on the working grid."""
    native = class_indices(label, structures)
    working = resample_label(native, len(structures), grid)
    inside, columns = inside_field(grid), np.count_nonzero(native, axis=2)
    gone = {*np.unique(native[inside]).tolist()} - {*np.unique(working).tolist()} - {0}
    return LaidLabel(
        native,
        working,
        float(columns[~inside].sum() / columns.sum()),
        tuple(structures[index - 1].name for index in sorted(gone)),
    )


def class_indices(
    label: NDArray[np.integer], structures: tuple[Structure, ...]
) -> NDArray[np.uint8]:
    """Turns a publisher's label values into class indices: k+1 for structure k."""
    classes = np.zeros(label.shape, np.uint8)
    for index, structure in enumerate(structures, start=1):
        classes[label == structure.value] = index
    return classes


def normalise(
    image: NDArray[np.float32], grid: WorkingGrid, recipe: DataRecipe, name: str
) -> NDArray[np.float32]:
    """Clips an image on its working grid at two percentiles; makes its mean 0, its deviation 1.

    All are those of the voxels that the volume really covers; the rest of the square gets the
    lowest value. DataError if the image, told by `name`, is constant within the field of view.
    """
    spans = []
    for positions, count in zip(grid.positions, grid.native_shape, strict=True):
        where = np.flatnonzero(covered(positions, count))
        spans.append(slice(int(where[0]), int(where[-1]) + 1))
    body = image[tuple(spans)]
    low, high = (float(value) for value in np.percentile(body, recipe.clip_percentiles))
    clipped = np.clip(body, low, high)
    mean, deviation = float(clipped.mean(dtype=float)), float(clipped.std(dtype=float))
    if not deviation > 1e-6 * max(1e-6, abs(low), abs(high)):
        raise DataError(
            [f"{name} has one value only within the field of view; it is not a scan"], where=name
        )
    result = np.full(image.shape, (low - mean) / deviation, np.float32)
    result[tuple(spans)] = (clipped - mean) / deviation
    return result
