"""Masks for volumes that nobody has labelled, by one trained network or by those of all folds.

A volume goes the way that those of training went, and its mask comes back to the grid, the axes and
the affine of its own file, with the label values that the network was trained on.
"""

from __future__ import annotations

import gzip
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from contrabench.contracts.dataset import Case, DatasetInfo, Structure, Volume
from contrabench.data.bank import from_axial
from contrabench.data.formats import is_volume, stem, volumes_in
from contrabench.data.grid import native_shares, to_native
from contrabench.data.prepare import open_case, prepare_case
from contrabench.data.reading import NiftiDataset
from contrabench.errors import DataError, RequestError
from contrabench.evaluation.inference import predict_slices
from contrabench.files import replacing
from contrabench.model.segmentation import Segmenter
from contrabench.progress import Reporter
from contrabench.protocol import digest
from contrabench.training.runtime import Runtime
from contrabench.use.trained import Trained

T = TypeVar("T", bound=np.generic)
_CHANNEL = re.compile(r"(.+)_(\d{4})")
ENDING, SHARES = ".nii.gz", "_probabilities.nii.gz"


class Inputs(NiftiDataset):
    """Volumes as a trained network takes them.

    Attributes:
        affine: of the volume that was read last, as its file has it.
    """

    info = DatasetInfo(
        title="the inputs",
        modality="as in training",
        source="the user's own files",
        terms="the user's",
        layout="files of volumes, or folders of them; of several channels NAME_0000 and on",
        needs_path=False,
    )

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.recipe, self._trained = trained.recipe, trained
        self.affine = np.eye(4)

    @property
    def structures(self) -> tuple[Structure, ...]:
        """What the network segments."""
        return self._trained.structures

    @property
    def channels(self) -> tuple[str, ...]:
        """What the network takes."""
        return self._trained.channels

    def cases(self) -> list[Case]:
        """None of its own."""
        return []

    def load(self, case: Case) -> Volume:
        """As any, and the affine is kept."""
        volume = super().load(case)
        self.affine = volume.affine
        return volume


class Outcome(NamedTuple):
    """What became of one input: `done`, `there already`, or `failed` with its reason."""

    case: str
    file: Path
    state: Literal["done", "there already", "failed"]
    reason: str = ""


@dataclass(frozen=True)
class Predictor:
    """Networks that are asked together: the mean of their probabilities decides.

    `shares`: the probabilities themselves are wanted as well.
    """

    trained: Sequence[Trained]
    runtime: Runtime
    shares: bool = False

    @property
    def origin(self) -> str:
        """What the header of a mask says of who made it."""
        keys = [one.key for one in self.trained]
        return f"contrabench {keys[0] if len(keys) == 1 else digest(sorted(keys))}"

    def work_off(self, cases: Sequence[Case], out: Path, reporter: Reporter) -> list[Outcome]:
        """Predicts every case; what cannot be read is told in its outcome, and the rest is done.

        A mask of these networks that is there already stays, as any other file does, which is told
        as a failure. RequestError if the weights are gone, or a mask would
        lie in the place of an input.
        """
        for case in cases:
            if case.image and (out / f"{case.id}{ENDING}").resolve() == case.image.resolve():
                raise RequestError(
                    f"the mask of {case.image} would be written over it; name another folder with "
                    "--out"
                )
        networks = [one.network().to(self.runtime.torch_device) for one in self.trained]
        outcomes = []
        with reporter.track("predicting", len(cases)) as track:
            for number, case in enumerate(cases, start=1):
                outcomes.append(self._outcome(networks, case, out))
                track.advance(number, case.id)
        return outcomes

    def _outcome(self, networks: Sequence[Segmenter], case: Case, out: Path) -> Outcome:
        file, shares = out / f"{case.id}{ENDING}", out / f"{case.id}{SHARES}"
        if file.is_file() and _origin(file) != self.origin:
            reason = f"{file} is there already, and not by this network; name another --out"
            return Outcome(case.id, file, "failed", f"{case.id}: {reason}")
        if file.is_file() and (shares.is_file() or not self.shares):
            return Outcome(case.id, file, "there already")
        try:
            mask = mask_of(self.trained[0], networks, case, self.runtime, self.shares)
        except DataError as error:
            return Outcome(case.id, file, "failed", "; ".join(error.faults))
        if mask.shares is not None:
            _save(mask.shares, mask.affine, shares, self.origin)
        _save(mask.values, mask.affine, file, self.origin)
        return Outcome(case.id, file, "done")


class Mask(NamedTuple):
    """What networks see in a volume, on the grid and the axes of its file.

    Attributes:
        values: (X, Y, Z), the label values that the networks were trained on.
        affine: 4 x 4, voxel index to RAS+ millimetres.
        shares: probabilities (X, Y, Z, classes) in float32, the background first, if wanted.
    """

    values: NDArray[Any]
    affine: NDArray[np.float64]
    shares: NDArray[np.float32] | None = None


def mask_of(
    trained: Trained,
    networks: Sequence[Segmenter],
    case: Case,
    runtime: Runtime,
    shares: bool = False,
) -> Mask:
    """Predicts one volume by networks on the runtime's device; DataError if it cannot be read."""
    inputs = Inputs(trained)
    with tempfile.TemporaryDirectory() as work:
        prepare_case(inputs, case, trained.spec.budget.pixels, Path(work))
        made = open_case(case, Path(work))
        found = [predict_slices(network, made, runtime) for network in networks]
        volume = from_axial(torch.stack(found).mean(0).transpose(0, 1))
        grids = made.affine, made.native_affine, made.native_shape
    axes = made.native_affine, inputs.affine
    values = _labelled(own_axes(to_native(volume, *grids), *axes), inputs.structures)
    if not shares:
        return Mask(values, inputs.affine)
    each = [own_axes(one, *axes) for one in native_shares(volume, *grids)]
    return Mask(values, inputs.affine, np.stack(each, axis=-1))


def inputs_of(paths: Sequence[Path], channels: int) -> list[Case]:
    """The volumes of files and folders as cases, by name.

    Of several channels the files are called NAME_0000, NAME_0001 and on, or one file holds all of
    them. RequestError if there is none, a file is no volume, or two of them have one name.
    """
    found: dict[str, dict[int, Path]] = {}
    for path in (one for each in paths for one in _volumes(each)):
        numbered = _CHANNEL.fullmatch(stem(path))
        name, number = (numbered[1], int(numbered[2])) if numbered else (stem(path), 0)
        if (other := found.setdefault(name, {}).get(number)) is not None:
            raise RequestError(
                f"{other} and {path} would both be written as {name}{ENDING}; ask for them one "
                "after the other, each with its own --out"
            )
        found[name][number] = path
    cases = []
    for name, files in sorted(found.items()):
        if len(files) > 1 and sorted(files) != list(range(channels)):
            numbers = ", ".join(f"_{number:04d}" for number in sorted(files))
            raise RequestError(
                f"{name} has the channels {numbers}, and the network takes {channels}, counted "
                "from _0000"
            )
        first, *further = (files[number] for number in sorted(files))
        cases.append(Case(name, name, first, labelled=False, further=tuple(further)))
    return cases


def _volumes(path: Path) -> list[Path]:
    """A volume itself, or those of a folder."""
    if not path.exists():
        raise RequestError(f"there is no file or folder {path}")
    if is_volume(path):
        return [path]
    found = volumes_in(path) if path.is_dir() else []
    if not found:
        raise RequestError(f"{path} is no volume and holds none; give .nii.gz, .nrrd or .mha files")
    return found


def own_axes(
    array: NDArray[T], native: NDArray[np.float64], own: NDArray[np.float64]
) -> NDArray[T]:
    """Turns an array (X, Y, Z) from the axes of one affine back to those of a file of its voxels.

    Axes are swapped and mirrored only.
    """
    turn = np.rint(np.linalg.inv(native[:3, :3]) @ own[:3, :3]).astype(int)
    order = np.abs(turn).argmax(axis=0)
    backwards = [slice(None, None, int(turn[axis, place])) for place, axis in enumerate(order)]
    return np.ascontiguousarray(array.transpose(order)[tuple(backwards)])


def _labelled(classes: NDArray[np.uint8], structures: Sequence[Structure]) -> NDArray[Any]:
    """The publisher's label values, in the smallest type that holds them."""
    values = np.array([0, *(structure.value for structure in structures)])
    kinds = (np.uint8, np.int16, np.int32)
    fitting = (kind for kind in kinds if np.array_equal(values.astype(kind), values))
    return values.astype(next(fitting, np.int64))[classes]


def _origin(file: Path) -> str:
    """Who made a mask, by its header; empty for what is none of ours."""
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError

    try:
        return bytes(nib.load(file).header["descrip"].item()).decode("ascii", "replace")
    except (ImageFileError, OSError, EOFError, KeyError):
        return ""


def _save(array: NDArray[Any], affine: NDArray[np.float64], path: Path, origin: str) -> None:
    """Writes a volume whole or not at all, all fields of its header in agreement."""
    import nibabel as nib

    image = nib.Nifti1Image(array, affine, dtype=array.dtype)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = origin
    with replacing(path) as temporary:
        temporary.write_bytes(gzip.compress(image.to_bytes(), mtime=0))
