"""Metrics of one's own, asked beside the metric contract's about the same masks."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from contrabench.contracts.chosen import Chosen
from contrabench.contracts.metric import Metric, Spacing
from contrabench.errors import RunError


def own_scores(
    metrics: Sequence[Chosen[Metric]],
    prediction: NDArray[np.uint8],
    reference: NDArray[np.uint8],
    structures: Sequence[str],
    spacing: Spacing,
) -> list[str]:
    """What metrics say of each structure of a case, as JSON by metric; "" where none applies.

    The arrays are those of `score_case`. RunError if a metric gives no finite number.
    """
    made = [(_told(one), one.open()) for one in metrics]
    told = []
    for value, structure in enumerate(structures, start=1):
        masks = (prediction == value, reference == value)
        for mask in masks:
            mask.flags.writeable = False
        if not (made and any(mask.any() for mask in masks)):
            told.append("")
            continue
        found = {}
        for text, metric in made:
            number = metric.score(*masks, spacing)
            if not isinstance(number, int | float | np.number) or not math.isfinite(number):
                raise RunError(
                    f"metric '{text}' gives {number!r} for {structure}, where a finite number is "
                    "wanted; mend it, or leave it out: what is trained is kept"
                )
            found[text] = float(number)
        told.append(json.dumps(found, sort_keys=True))
    return told


def _told(one: Chosen[Metric]) -> str:
    """How a metric is called beside its numbers: with its unit, and which way is better."""
    info = one.kind.info
    words = [info.unit, "" if info.higher_is_better else "lower is better"]
    inside = ", ".join(filter(None, words))
    return f"{one.text} ({inside})" if inside else one.text
