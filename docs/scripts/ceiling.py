"""What a perfect network could score: references taken to the working grid and back.

    python docs/scripts/ceiling.py --dataset mmwhs --data MMWHS --pixels 64

Prints Dice per structure (mean and lowest case) of each reference, resampled as preparation
does and brought back as predictions are; and the share of foreground outside the field of view.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch.nn import functional

from contrabench.contracts import registry
from contrabench.data.grid import to_native
from contrabench.progress import Silent
from contrabench.stages.prepare import prepare


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Dice of two masks that are not both empty."""
    return float(2 * np.sum(first & second) / (np.sum(first) + np.sum(second)))


def main() -> None:
    """Prepares the cases in a temporary folder and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="phantom")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--pixels", type=int, default=64)
    wanted = parser.parse_args()
    kind = registry.datasets.get(wanted.dataset)
    dataset = kind(wanted.data, kind.Options())
    found: dict[str, list[float]] = {structure.name: [] for structure in dataset.structures}
    with TemporaryDirectory() as cache:
        cases = prepare(dataset, wanted.dataset, wanted.pixels, Path(cache), Silent())
        cases = [case for case in cases if case.labelled]
        for case in cases:
            marks = torch.from_numpy(case.label).long()
            shares = functional.one_hot(marks, len(found) + 1).permute(3, 0, 1, 2).float()
            back = to_native(shares, case.affine, case.native_affine, case.native_shape)
            truth = case.native_label()
            for number, values in enumerate(found.values(), start=1):
                if np.any(truth == number):
                    values.append(dice(back == number, truth == number))
        outside = max(case.outside for case in cases)
    for name, values in found.items():
        sys.stdout.write(f"{name:20} mean {np.mean(values):.3f}  lowest {min(values):.3f}\n")
    sys.stdout.write(
        f"{len(cases)} cases; largest share of foreground outside the field of view {outside:.4f}\n"
    )


if __name__ == "__main__":
    main()
