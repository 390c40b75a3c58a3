"""The learning-rate schedule: a linear warm-up, then a cosine down to zero or no change."""

from __future__ import annotations

import math

from contrabench.protocol import Phase


def rate(step: int, steps: int, phase: Phase) -> float:
    """Learning rate of a step.

    Args:
        step: from 0.
        steps: of the whole stage.
        phase: peak rate and share of warm-up.

    Returns:
        `lr * (step + 1) / w` in the first w = round(warmup * steps) steps, then
        `lr * (1 + cos(pi * t)) / 2` with t from 0 to just below 1, or `lr` throughout.
    """
    warm = round(phase.warmup * steps)
    if step < warm:
        return phase.lr * (step + 1) / warm
    if phase.schedule == "constant":
        return phase.lr
    share = (step - warm) / max(1, steps - warm)
    return phase.lr * (1 + math.cos(math.pi * share)) / 2
