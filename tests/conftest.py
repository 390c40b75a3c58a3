"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from contrabench.data.prepare import PreparedCase

os.environ.pop("CONTRABENCH_PLUGINS", None)
os.environ.pop("CONTRABENCH_STORE", None)
os.environ.pop("CONTRABENCH_CONFIG", None)


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Small tensors are quicker on one thread, and bits do not depend on the machine."""
    torch.set_num_threads(1)


def make_case(
    number: int, pixels: int = 32, depth: int = 6, patient: str | None = None, labelled: bool = True
) -> PreparedCase:
    """A prepared case in memory: a noisy bright ball with a shell, classes 1 and 2."""
    generator = np.random.default_rng(number)
    axes = [np.linspace(-1, 1, n) for n in (pixels, pixels, depth)]
    radius = np.sqrt(sum(a**2 for a in np.meshgrid(*axes, indexing="ij")))
    label = np.zeros(radius.shape, np.uint8)
    label[radius < 0.6] = 2
    label[radius < 0.4] = 1
    image = label.astype(np.float32) + 0.1 * generator.standard_normal(label.shape, np.float32)
    name = f"case_{number:02d}"
    case = PreparedCase(
        case=name,
        patient=patient or f"patient_{number:02d}",
        labelled=labelled,
        image=image,
        label=label if labelled else None,
        spacing=(4.0, 4.0, 8.0),
        affine=np.diag([4.0, 4.0, 8.0, 1.0]),
        native_affine=np.diag([4.0, 4.0, 8.0, 1.0]),
        native_shape=label.shape,
        fingerprint=f"{number:032x}",
        outside=0.0,
        folder=Path(os.devnull),
    )
    object.__setattr__(case, "native_label", label.copy)
    return case


@pytest.fixture
def cases():
    """Ten labelled cases of ten patients, and an unlabelled one."""
    return [make_case(i) for i in range(10)] + [make_case(10, labelled=False)]
