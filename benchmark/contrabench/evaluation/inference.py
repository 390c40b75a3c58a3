"""Prediction of whole volumes, slice by slice, on the grid of the publisher's files."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contrabench.data.bank import from_axial, image_slices
from contrabench.data.grid import to_native
from contrabench.data.prepare import PreparedCase
from contrabench.model.segmentation import Segmenter
from contrabench.training.runtime import Runtime

_BATCH = 32


def predict_case(model: Segmenter, case: PreparedCase, runtime: Runtime) -> NDArray[np.uint8]:
    """Predicts one volume: class indices (X, Y, Z) on the native grid in canonical orientation.

    Class probabilities are interpolated to the native grid and only there turned into labels.
    """
    shares = from_axial(predict_slices(model, case, runtime).transpose(0, 1))
    return to_native(shares, case.affine, case.native_affine, case.native_shape)


def predict_slices(model: Segmenter, case: PreparedCase, runtime: Runtime) -> Tensor:
    """Class probabilities (N, classes, P, P) of all axial slices of a case; none is skipped."""
    model.eval()
    slices = image_slices(case, "axial")
    parts = []
    with torch.inference_mode(), runtime.autocast():
        for start in range(0, len(slices), _BATCH):
            block = slices[start : start + _BATCH].to(runtime.torch_device)
            parts.append(model.predict(block))
    return torch.cat(parts)
