"""Variance, invariance and covariance of embeddings, as two methods weigh them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from contrabench.objectives.contrast import exact

_FLOOR = 1e-4


def vicreg_terms(
    first: Tensor, second: Tensor, invariance: float, variance: float, covariance: float
) -> Tensor:
    """The loss of VICReg (Bardes et al., ICLR 2022), scaled as in the authors' code.

    Args:
        first: (B, D) embeddings of one view, B at least 2, or (B, k, D) with statistics for each
            of the k apart; they are not normalised.
        second: as `first`, of the other view.
        invariance: weight of the mean squared distance.
        variance: weight of what standard deviations lack of 1, the mean over dimensions and views.
        covariance: weight of the squared covariances of two dimensions, summed over the pairs and
            the views and divided by D.
    """
    with torch.autocast(first.device.type, enabled=False):
        views = exact(first), exact(second)
        apart = functional.mse_loss(*views)
        flat = [functional.relu(1 - (each.var(dim=0) + _FLOOR).sqrt()).mean() for each in views]
        return (
            invariance * apart
            + variance * (flat[0] + flat[1]) / 2
            + covariance * (_redundancy(views[0]) + _redundancy(views[1]))
        )


def _redundancy(embedded: Tensor) -> Tensor:
    """Sum of squared covariances of two dimensions, divided by their number; a mean over k."""
    centred = embedded - embedded.mean(dim=0)
    shared = torch.einsum("b...c,b...d->...cd", centred, centred) / (len(centred) - 1)
    own = torch.eye(shared.shape[-1], dtype=torch.bool, device=shared.device)
    return shared.masked_fill(own, 0).square().sum((-2, -1)).mean() / shared.shape[-1]
