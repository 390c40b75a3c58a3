"""Whether two volumes show the same heart, whatever their names, files and headers say.

Two volumes are compared as they are stored, in canonical orientation: voxel by voxel, and by a
pattern of a few thousand cells that survives noise, another contrast, resampling, a wrong spacing
and mirroring. `docs/scripts/alike_hearts.py` measures how far apart copies and others are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contrabench.contracts.dataset import Case, Volume
from contrabench.data.grid import shrink

SAME_HEART = 0.8
"""Likeness from which on two volumes are one heart: in the middle between the closest of different
hearts (0.68, of 11 175 pairs) and the furthest of disguised copies (0.91), see
docs/your-data.md."""
_CELLS = (32, 32, 4)
_BLUR = 2.0
"""Cells, within a slice: what is smoother than that is common to all hearts and left out."""
_CLIP = (40.0, 99.5)
"""Percentiles: air and padding are nothing, or their border would make all hearts alike."""
_SAMPLED = 64
"""Voxels of an axis that percentiles are taken of, about."""
_ROWS = 256


@dataclass(frozen=True, eq=False)
class Likeness:
    """What a volume is recognised by.

    Attributes:
        voxels: hash of its voxels.
        pattern: (32, 32, 4) float32 of length 1, or zero for a volume without structure.
    """

    voxels: str
    pattern: NDArray[np.float32]


def likeness_of(volume: Volume) -> Likeness:
    """The likeness of a volume in canonical orientation; its spacing plays no part.

    The pattern is that of its first channel.
    """
    state = hashlib.sha256(repr(volume.image.shape).encode())
    state.update(np.ascontiguousarray(volume.image, dtype="<f4").data)
    return Likeness(state.hexdigest(), pattern_of(volume.by_channel[0]))


def pattern_of(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """The pattern of an image (X, Y, Z): its whole extent in few cells, less what is smooth."""
    from scipy import ndimage

    sampled = image[tuple(slice(None, None, max(1, n // _SAMPLED)) for n in image.shape)]
    cells = shrink(np.clip(image, *np.percentile(sampled, _CLIP)), _CELLS)
    cells -= ndimage.gaussian_filter(cells, (_BLUR, _BLUR, 0), mode="nearest")
    cells -= cells.mean()
    length = float(np.linalg.norm(cells))
    return np.asarray(cells / length if length > 0 else cells, np.float32)


def similarity(some: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Largest correlation of patterns (n, ...) and (m, ...) over the eight mirrorings, (n, m).

    A pattern is the sum of eight parts that are even or odd along each axis; a mirroring changes
    no more than the signs of their products, so these are taken once.
    """
    from scipy.linalg import hadamard

    products = _parts(some) @ _parts(others).transpose(0, 2, 1)
    signs = hadamard(len(products), dtype=np.float32)
    return np.asarray(np.tensordot(signs, products, 1).max(axis=0))


def _parts(patterns: NDArray[np.float32]) -> NDArray[np.float32]:
    """Even and odd parts along the three axes, (8, n, cells / 8); their squares keep the sum."""
    parts = patterns[None]
    for axis in (2, 3, 4):
        low, high = np.split(parts, 2, axis)
        high = np.flip(high, axis)
        parts = np.concatenate([low + high, low - high])
    return parts.reshape(8, len(patterns), -1) / np.float32(np.sqrt(8))


def shared_hearts(seen: Sequence[tuple[Case, Likeness]]) -> list[str]:
    """One line for any two patients who are the same heart, by their most similar volumes.

    Two who are never tested may be: patients without labels, who are always trained on.
    """
    cases = [case for case, _ in seen]
    testable = {case.patient for case in cases if case.labelled}
    faults: dict[frozenset[str], tuple[float, str]] = {}
    for one, other, value in _similar([likeness for _, likeness in seen]):
        pair = frozenset({cases[one].patient, cases[other].patient})
        if len(pair) < 2 or not pair & testable or value <= faults.get(pair, (0.0, ""))[0]:
            continue
        names = " and ".join(f"{c.id} (patient {c.patient})" for c in (cases[one], cases[other]))
        exact = seen[one][1].voxels == seen[other][1].voxels
        alike = f"show the same heart (likeness {value:.2f}, a copy from {SAME_HEART} on)"
        faults[pair] = (
            value,
            (
                f"{names}: {'are the same image, voxel by voxel' if exact else alike}; it could be "
                "trained on and tested on at once, so leave one out or give both one patient"
            ),
        )
    return [text for _, text in faults.values()]


def _similar(seen: Sequence[Likeness]) -> list[tuple[int, int, float]]:
    """Pairs of one heart, by number, with their likeness; 2 for the same voxels."""
    if not seen:
        return []
    patterns = np.stack([one.pattern for one in seen])
    _, voxels = np.unique([one.voxels for one in seen], return_inverse=True)
    found = []
    for start in range(0, len(seen), _ROWS):
        rows = slice(start, start + _ROWS)
        values = similarity(patterns[rows], patterns)
        values[voxels[rows, None] == voxels] = 2
        for row, column in np.argwhere(np.triu(values >= SAME_HEART, start + 1)).tolist():
            found.append((start + row, column, float(values[row, column])))
    return found
