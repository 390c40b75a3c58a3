"""The contract of a dataset: its cases, their patients, and how to read a volume."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pydantic import Field

from contrabench.contracts.split import GivenSplit
from contrabench.errors import DataError
from contrabench.files import checksum
from contrabench.protocol import DataRecipe, Frozen
from contrabench.protocol import Options as _Options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Structure(Frozen):
    """A labelled structure: its name in reports and its value in the label files."""

    name: str
    value: int = Field(gt=0)


class DatasetInfo(Frozen):
    """What a reader must know about a dataset."""

    title: str
    modality: str
    source: str = Field(description="citation, or how the data is made")
    terms: str = Field(description="licence or conditions of use")
    layout: str = Field(description="the files it expects below --data, in one line")
    needs_path: bool = True
    spacing_known: bool = Field(True, description="if not, distances are reported in voxels")
    version: int = Field(1, description="raised when the same files give other volumes")


@dataclass(frozen=True)
class Case:
    """One volume.

    Attributes:
        id: unique within the dataset.
        patient: the unit of splitting and statistics; several cases may share one.
        image: file of the image, or the folder of its DICOM series; None for a dataset that
            makes its volumes.
        label: file of the label; None for an unlabelled case, which is trained on and never tested.
        further: files of the second channel and on, where each channel has its own.
        frame: of an image file that is a series over time, from 0; None for a single volume.
    """

    id: str
    patient: str
    image: Path | None = None
    label: Path | None = None
    labelled: bool = True
    further: tuple[Path, ...] = ()
    frame: int | None = None


class Note(NamedTuple):
    """Something that is no fault and has to be told: `what` for all cases alike, and its detail."""

    what: str
    detail: str = ""


@dataclass(frozen=True)
class Volume:
    """A volume as its publisher stores it.

    Attributes:
        image: float32, shape (X, Y, Z), or (C, X, Y, Z) of several channels on one grid.
        label: integer array of the publisher's values, shape (X, Y, Z), or None.
        affine: 4 x 4, voxel index to millimetres in RAS+ world coordinates; `label_affine` is
            the label file's own.
        notes: what was decided where its files leave it open.
    """

    image: NDArray[np.float32]
    label: NDArray[np.integer] | None
    affine: NDArray[np.float64]
    label_affine: NDArray[np.float64] | None = None
    notes: tuple[Note, ...] = ()

    @property
    def by_channel(self) -> NDArray[np.float32]:
        """The image as (C, X, Y, Z), of however many channels."""
        return self.image.reshape(-1, *self.image.shape[-3:])


class Dataset(ABC):
    """Base class of every dataset.

    Its `recipe` says how its volumes become network input; `splits` are those that papers share,
    by the name that `--split` takes; `sides_mm` are the bounds between which a voxel's sides lie.
    """

    info: ClassVar[DatasetInfo]
    Options: ClassVar[type[_Options]] = _Options
    splits: ClassVar[Mapping[str, GivenSplit]] = {}
    recipe: DataRecipe = DataRecipe()
    sides_mm: tuple[float, float] = (0.1, 20.0)

    def __init__(self, root: Path | None = None, options: _Options | None = None) -> None:
        self.root = root
        self.options = self.Options() if options is None else options

    @property
    @abstractmethod
    def structures(self) -> tuple[Structure, ...]:
        """The structures in the order of the tables; class k+1 is structure k."""

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of an image's channels, in the order in which the network takes them."""
        return ("image",)

    @abstractmethod
    def cases(self) -> list[Case]:
        """Lists the cases in a fixed order; DataError naming every missing or extra file."""

    def folder(self) -> Path:
        """The folder given as `--data`; DataError with the layout if it is missing or empty."""
        if self.root is None:
            raise self.misplaced("no --data folder was given")
        if self.root.is_file():
            raise self.misplaced(f"{self.root} is a file and no folder")
        if not self.root.is_dir():
            raise self.misplaced(f"the folder {self.root} does not exist")
        try:
            empty = not any(self.root.iterdir())
        except OSError as error:
            raise self.misplaced(f"{self.root} cannot be listed ({error.strerror})") from error
        if empty:
            raise self.misplaced(f"the folder {self.root} is empty")
        return self.root

    def misplaced(self, finding: str) -> DataError:
        """The error for data that is not where it should be: the finding, then the layout."""
        return DataError([f"{finding}; expected {self.info.layout}"], where=self.info.title)

    @abstractmethod
    def load(self, case: Case) -> Volume:
        """Reads one case; DataError if a file cannot be read.

        Different cases may be read at the same time, each in a thread.
        """

    def files(self, case: Case) -> list[Path]:
        """The files that `load` reads, in a fixed order; DataError if that cannot be told."""
        return [path for path in (case.image, *case.further, case.label) if path is not None]

    def fingerprint(self, case: Case) -> str:
        """Hash of what `load` would return; the default hashes the bytes of its `files`."""
        return self.content(case, checksum)

    def content(self, case: Case, checksum: Callable[[Path], str]) -> str:
        """Hash of a case by its files, from the hexadecimal hash of each, and its frame."""
        state = bytes.fromhex("".join(map(checksum, self.files(case))))
        state += b"" if case.frame is None else f"frame {case.frame}".encode()
        return hashlib.sha256(state).hexdigest()
