"""Agreement of a prediction with a target, as BYOL and SimSiam train it, and a collapse watch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from contrabench.objectives.contrast import exact


def negative_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean over i of -cos(p_i, z_i) of (B, D) each, by lightly; the target gets no gradient."""
    # lightly pulls torchvision, seconds that only this loss should cost.
    from lightly.loss import NegativeCosineSimilarity

    with torch.autocast(prediction.device.type, enabled=False):
        loss: Tensor = NegativeCosineSimilarity()(exact(prediction), exact(target.detach()))
    return loss


def spread(embeddings: Tensor) -> Tensor:
    """How far the embeddings (B, D) of a batch are from having become one; without a gradient.

    The deviation of each dimension of the normalised embeddings, averaged and multiplied by
    sqrt(D): about 1 where they point everywhere, 0 where they have collapsed (Chen and He,
    CVPR 2021, section 4.1). B is at least 2.
    """
    points = functional.normalize(exact(embeddings.detach()), dim=1)
    width: Tensor = points.std(dim=0).mean() * points.shape[1] ** 0.5
    return width
