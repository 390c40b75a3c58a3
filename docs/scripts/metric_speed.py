"""Times the metric contract beside MONAI's surface distance on one synthetic case.

    python docs/scripts/metric_speed.py --side 160 --structures 7

Prints the median time of `score_case` (every metric, all structures) and of MONAI's symmetric
surface distance alone, structure by structure, interleaved; and the largest difference in ASD.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import numpy as np
import torch
from monai.metrics import compute_average_surface_distance
from scipy import ndimage

from contrabench.evaluation.metrics import score_case

SPACING = (1.5, 1.5, 3.0)


def volume(side: int, structures: int, seed: int) -> np.ndarray:
    """Balls the size of heart chambers in a cube; the seed moves their borders a little."""
    wobble = ndimage.gaussian_filter(
        np.random.default_rng(seed).standard_normal((side,) * 3), side / 20
    )
    wobble *= 0.015 * side / wobble.std()
    place = np.random.default_rng(0).uniform(0.3, 0.7, (structures, 3)) * side
    axes = np.indices((side,) * 3)
    distance = np.stack(
        [np.sqrt(sum((a - c) ** 2 for a, c in zip(axes, p, strict=True))) for p in place]
    )
    inside = distance.min(axis=0) + wobble < side / 8
    return np.where(inside, distance.argmin(axis=0) + 1, 0).astype(np.uint8)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--structures", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=5)
    wanted = parser.parse_args()
    first, second = (volume(wanted.side, wanted.structures, seed) for seed in (1, 2))
    names = [f"s{number}" for number in range(1, wanted.structures + 1)]

    def ours() -> list[float]:
        return [score.asd for score in score_case(first, second, names, SPACING)]

    def monai() -> list[float]:
        masks = [torch.from_numpy(v)[None, None] for v in (first, second)]
        return [
            float(
                compute_average_surface_distance(
                    masks[0] == n, masks[1] == n, True, symmetric=True, spacing=SPACING
                )
            )
            for n in range(1, wanted.structures + 1)
        ]

    times: dict[str, list[float]] = {"score_case": [], "MONAI": []}
    for _ in range(wanted.repeats):
        for name, run in (("score_case", ours), ("MONAI", monai)):
            began = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - began)
    reference = statistics.median(times["score_case"])
    for name, values in times.items():
        median = statistics.median(values)
        sys.stdout.write(f"{name:12} {median:7.3f} s  {median / reference:5.2f} x\n")
    apart = max(abs(a - b) for a, b in zip(ours(), monai(), strict=True))
    sys.stdout.write(f"largest difference in ASD {apart:.1e} mm\n")


if __name__ == "__main__":
    main()
