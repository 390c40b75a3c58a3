"""Small phantoms made in memory: for checks, for tests, and for measuring without a dataset."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from contrabench.data.bank import SliceBank, build_bank
from contrabench.data.likeness import Likeness, pattern_of
from contrabench.data.prepare import PreparedCase

_WAVES = 6
_PATIENTS, _DEPTH = 4, 48


def make_case(
    number: int,
    pixels: int = 32,
    depth: int = 6,
    patient: str | None = None,
    labelled: bool = True,
    variety: float = 0.0,
    channels: int = 1,
) -> PreparedCase:
    """A noisy bright ball with a shell, classes 1 and 2, for checks and tests without files.

    Args:
        number: settles the noise, and what `variety` draws.
        pixels: side of a slice.
        depth: number of slices.
        patient: name; one of its own for every number if None.
        variety: how far place, shape and texture differ from case to case; 0: not at all.
        channels: of the image; the second and on show the same body, each with its own contrast.
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
    # A smooth pattern of its own for each case, of deviation 0.5.
    pattern = np.zeros(label.shape)
    for _ in range(_WAVES):
        frequency, phase = body.uniform(-6, 6, 3), body.uniform(0, 2 * np.pi)
        pattern += np.cos(sum(f * a for f, a in zip(frequency, grid, strict=True)) + phase)
    image += np.float32(variety) * (0.5 * pattern / np.sqrt(_WAVES / 2)).astype(np.float32)
    others = [
        np.float32(which) * (label == 2)
        - image
        + 0.1 * generator.standard_normal(label.shape, np.float32)
        for which in range(1, channels)
    ]
    case = PreparedCase(
        case=f"case_{number:02d}",
        patient=patient or f"patient_{number:02d}",
        labelled=labelled,
        image=np.stack([image, *others]) if others else image,
        label=label if labelled else None,
        spacing=(4.0, 4.0, 8.0),
        affine=np.diag([4.0, 4.0, 8.0, 1.0]),
        native_affine=np.diag([4.0, 4.0, 8.0, 1.0]),
        native_shape=(pixels, pixels, depth),
        fingerprint=f"{number:032x}",
        image_hash=f"{number}",
        outside=0.0,
        folder=Path(os.devnull),
    )
    # Every number is another heart, though without variety they look the same.
    own = generator.standard_normal((32, 32, 4), np.float32)
    object.__setattr__(case, "likeness", Likeness(case.image_hash, pattern_of(own)))
    # There is no file to read the native reference from.
    object.__setattr__(case, "native_label", label.copy)
    return case


def synthetic_bank(
    pixels: int, structures: int, device: torch.device, channels: int = 1
) -> SliceBank:
    """A bank of axial slices of four patients, one volume each, for measuring.

    With masks of at most so many `structures`, two at most; without masks for none. Every method
    finds positives and negatives in it.
    """
    cases = [
        make_case(number, pixels, _DEPTH, variety=1.0, channels=channels)
        for number in range(_PATIENTS)
    ]
    for case in cases:
        if case.label is not None:
            np.minimum(case.label, structures, out=case.label)
    patients = [case.patient for case in cases]
    return build_bank(cases, patients if structures else None, ("axial",), device)
