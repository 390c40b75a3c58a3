"""Prepared cases made in memory: small phantoms, for checks and tests that need no files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contrabench.data.prepare import PreparedCase

PATIENTS = 8
_DEPTH = 8
_WAVES = 6


def make_case(
    number: int,
    pixels: int = 32,
    depth: int = 6,
    patient: str | None = None,
    labelled: bool = True,
    variety: float = 0.0,
) -> PreparedCase:
    """A noisy bright ball with a shell, classes 1 and 2.

    Args:
        number: settles the noise, and what `variety` draws.
        pixels: side of a slice.
        depth: number of slices.
        patient: name; one of its own for every number if None.
        labelled: whether the case has its mask.
        variety: how far place, shape and texture differ from case to case; 0: not at all.
    """
    generator = np.random.default_rng(number)
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in (pixels, pixels, depth)), indexing="ij")
    body = np.random.default_rng((number, 1))
    shift = 0.2 * variety * body.uniform(-1, 1, 3)
    stretch = np.exp(0.3 * variety * body.uniform(-1, 1, 3))
    radius = np.sqrt(sum(((a - b) / c) ** 2 for a, b, c in zip(grid, shift, stretch, strict=True)))
    label = np.zeros(radius.shape, np.uint8)
    label[radius < 0.6] = 2
    label[radius < 0.4] = 1
    image = label.astype(np.float32) + 0.1 * generator.standard_normal(label.shape, np.float32)
    image += np.float32(variety) * _texture(grid, body)
    case = PreparedCase(
        case=f"case_{number:02d}",
        patient=patient or f"patient_{number:02d}",
        labelled=labelled,
        image=image,
        label=label if labelled else None,
        spacing=(4.0, 4.0, 8.0),
        affine=np.diag([4.0, 4.0, 8.0, 1.0]),
        native_affine=np.diag([4.0, 4.0, 8.0, 1.0]),
        native_shape=(pixels, pixels, depth),
        fingerprint=f"{number:032x}",
        outside=0.0,
        folder=Path(os.devnull),
    )
    # There is no file to read the native reference from.
    object.__setattr__(case, "native_label", label.copy)
    return case


@lru_cache(maxsize=1)
def practice_cases() -> tuple[PreparedCase, ...]:
    """The cases that every check trains on: one volume of each of `PATIENTS` patients."""
    return tuple(make_case(number, depth=_DEPTH, variety=1.0) for number in range(PATIENTS))


def _texture(grid: Sequence[NDArray[np.float64]], body: np.random.Generator) -> NDArray[np.float32]:
    """A smooth pattern of its own for each case, of deviation 0.5."""
    pattern = np.zeros(grid[0].shape)
    for _ in range(_WAVES):
        frequency, phase = body.uniform(-6, 6, 3), body.uniform(0, 2 * np.pi)
        pattern += np.cos(sum(f * a for f, a in zip(frequency, grid, strict=True)) + phase)
    scaled: NDArray[np.float32] = (0.5 * pattern / np.sqrt(_WAVES / 2)).astype(np.float32)
    return scaled
