"""How far a structure's volume is off, which is what a clinician reads from a segmentation."""

from __future__ import annotations

import numpy as np

from contrabench.contracts.metric import Mask, Metric, MetricInfo, Spacing
from contrabench.contracts.registry import register_metric


@register_metric("volume_error")
class VolumeError(Metric):
    """The size of the difference in volume, in millilitres."""

    info = MetricInfo(
        title="absolute difference in volume",
        source="Bernard et al., IEEE TMI 2018 (the clinical metrics of ACDC)",
        unit="ml",
        higher_is_better=False,
    )

    def score(self, prediction: Mask, reference: Mask, spacing: Spacing) -> float:
        """|V(prediction) - V(reference)|; of voxels of 1 mm where no spacing is known."""
        voxels = abs(int(np.count_nonzero(prediction)) - int(np.count_nonzero(reference)))
        return voxels * float(np.prod(spacing)) / 1000
