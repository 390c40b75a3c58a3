"""NIfTI files: read to the last byte, and a geometry that all fields of the header agree on.

A header says three times how large a voxel is: in `sform`, in `qform`, whose sides are those of
`pixdim`, and by the unit of `xyzt_units`. Where one of them was never written or is stale, what is
believed is told, or is a fault.
"""

from __future__ import annotations

import gzip
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from contrabench.contracts.dataset import Note
from contrabench.data.grid import spacing_of

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

_GZIP = b"\x1f\x8b"
_SIZES = (348, 540)
"""Bytes of a header of NIfTI-1 and NIfTI-2, which it begins with."""
_MAGIC = ("n+1", "n+2")
_CODES = range(1, 6)
"""Of a form that is set."""
_MM = {1: ("metre", 1e3), 3: ("micrometre", 1e-3)}
"""Units of space by their code, and millimetres in each; all other codes stand for millimetres."""
_ALIKE = 0.01
"""Share by which two fields may differ: pixdim is often rounded."""


class Stored(NamedTuple):
    """A volume as a file has it.

    Attributes:
        values: voxels (X, Y, Z), or (X, Y, Z, n) of n values each.
        affine: 4 x 4, voxel index to RAS+ millimetres.
        notes: what was decided about it.
    """

    values: NDArray[Any]
    affine: NDArray[np.float64]
    notes: tuple[Note, ...] = ()


def unreadable(path: Path, error: Exception) -> ValueError:
    """The fault of a file that its reader gives up on, in one line."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return ValueError(f"{path} cannot be read ({reason}); copy or download it again")


def read_nifti(path: Path, frame: int | None = None, exact: bool = False) -> Stored:
    """Reads a volume, or a frame of a series, counted from 0; ValueError with what is wrong.

    Voxels are float32, or of the file's own type if they are wanted `exact`. The stream of a
    compressed file is read to its end, where its checksum stands.
    """
    from nibabel.arrayproxy import ArrayProxy

    # What a damaged header makes of its reader cannot be foreseen.
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if raw.startswith(_GZIP) else raw
        header = _header(raw)
        shape, kind = _shape(header), header.get_data_dtype()
        begin = float(header["vox_offset"])
        if not len(header.binaryblock) <= begin < math.inf:
            raise ValueError(f"its voxels cannot begin at byte {begin:g}, inside of the header")
        end = int(begin) + math.prod(shape) * kind.itemsize
        if end > len(raw):
            raise ValueError(f"its header {shape} wants {end} bytes, and there are {len(raw)}")
        voxels = ArrayProxy(io.BytesIO(raw), header)
    except Exception as error:
        raise unreadable(path, error) from error
    if kind.kind not in "iuf":
        raise ValueError(f"{path} has colours or complex numbers as voxels; save one value of each")
    if frame is not None and (len(shape) != 4 or frame >= shape[3]):
        raise ValueError(f"{path} has shape {shape} and no frame {frame + 1}")
    affine, notes = _geometry(path, header)
    try:
        values = np.asanyarray(voxels if frame is None else voxels[..., frame])
        if not exact:
            values = np.asarray(voxels, np.float32) if frame is None else values.astype(np.float32)
    except Exception as error:
        raise unreadable(path, error) from error
    return Stored(values, affine, notes)


def frame_count(path: Path) -> int:
    """Frames of a series over time, told by its header; ValueError if it is none."""
    try:
        with path.open("rb") as file:
            packed = file.read(len(_GZIP)) == _GZIP
        with gzip.open(path) if packed else path.open("rb") as file:
            shape = _shape(_header(file.read(_SIZES[1])))
    except Exception as error:
        raise ValueError(f"the series {unreadable(path, error)}, or leave it out") from error
    if len(shape) != 4:
        raise ValueError(f"the series {path} has shape {shape}, not four dimensions")
    return shape[3]


def _header(raw: bytes) -> Nifti1Header:
    """The header as it is written: nibabel's own check would put a side of 0 right in silence."""
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    size, mark = int.from_bytes(raw[:4], "little"), "<"
    if size not in _SIZES:
        size, mark = int.from_bytes(raw[:4], "big"), ">"
    if size not in _SIZES or len(raw) < size:
        raise ValueError("it does not begin with the header of a NIfTI file")
    kind = Nifti1Header if size == _SIZES[0] else Nifti2Header
    header = kind(raw[:size], mark, check=False)
    if (magic := bytes(header["magic"])[:3].decode(errors="replace")) not in _MAGIC:
        raise ValueError(f"it is marked '{magic}' and so holds no voxels; save one file")
    return header


def _shape(header: Nifti1Header) -> tuple[int, ...]:
    count, *sides = (int(side) for side in header["dim"])
    if not 1 <= count <= 7 or min(sides[:count]) < 1:
        raise ValueError(f"its header has {count} dimensions, {sides}")
    return tuple(sides[:count])


def _geometry(path: Path, header: Nifti1Header) -> tuple[NDArray[np.float64], tuple[Note, ...]]:
    """The affine that the header means, in mm, and what was decided; ValueError if it is open."""
    pixdim = np.abs(np.asarray(header["pixdim"], float))[1:4]
    sform = np.asarray(header.get_sform(), float) if int(header["sform_code"]) in _CODES else None
    qform = _qform(header) if int(header["qform_code"]) in _CODES else None
    other = "pixdim" if qform is None else "qform and pixdim"
    affine = np.asarray(header.get_base_affine(), float) if qform is None else qform
    notes = []
    if sform is not None:
        first = np.array(spacing_of(sform))
        both = f"sform {sides_words(first)}, {other} {sides_words(pixdim)}"
        alike = np.allclose(first, pixdim, rtol=_ALIKE)
        if alike or _written(first) > _written(pixdim):
            if not alike:
                notes.append(Note("sform and pixdim disagree on the voxel; sform is taken", both))
            elif qform is not None and (codes := codes_of(sform)) != (others := codes_of(qform)):
                what = "sform and qform disagree on the directions; sform is taken"
                notes.append(Note(what, f"sform {codes}, qform {others}"))
            affine = sform
        elif _written(first) < _written(pixdim):
            notes.append(Note(f"sform and {other} disagree on the voxel; {other} is taken", both))
            if qform is None and np.allclose(first, 1):
                affine = sform @ np.diag([*pixdim / first, 1])
        else:
            # The sides of qform are those of pixdim: there is no third witness.
            raise ValueError(
                f"{path}: its header has two geometries, {both}; write the right one into all "
                "three fields (in nibabel set_sform, set_qform and set_zooms)"
            )
    elif qform is None:
        notes.append(
            Note("neither sform nor qform is set; the first axis is taken to point left, as usual")
        )
    unit, millimetres = _MM.get(int(header["xyzt_units"]) & 7, ("", 1.0))
    if unit:
        what = f"the unit of the header is the {unit}; its numbers are converted to mm"
        notes.append(Note(what, sides_words(spacing_of(affine))))
    return np.diag([millimetres] * 3 + [1.0]) @ affine, tuple(notes)


def _qform(header: Nifti1Header) -> NDArray[np.float64] | None:
    """The qform, whatever stands in `pixdim[0]` and for the signs; None if it is no rotation."""
    own = header.copy()
    own["pixdim"][0] = -1 if own["pixdim"][0] == -1 else 1
    own["pixdim"][1:4] = np.abs(own["pixdim"][1:4])
    try:
        found = np.asarray(own.get_qform(), float)
    except ValueError:
        return None
    return found if np.isfinite(found[:3, :3]).all() else None


def _written(sides: NDArray[np.float64]) -> bool:
    """Whether somebody wrote these sides; all 1 is what stands where nobody did."""
    sound = bool(np.isfinite(sides).all() and sides.min() > 0)
    return sound and not np.allclose(sides, 1, rtol=1e-6)


def codes_of(affine: NDArray[np.float64]) -> str:
    """Where the axes point, `RAS` or `LPS`."""
    from nibabel.orientations import aff2axcodes

    return "".join(code or "?" for code in aff2axcodes(affine))


def sides_words(sides: NDArray[np.float64] | tuple[float, ...]) -> str:
    """Sides as a reader would write them: `1.5 x 1.5 x 8`."""
    return " x ".join(f"{side:.4g}" for side in sides)
