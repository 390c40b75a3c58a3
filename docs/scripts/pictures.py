"""Draws image, reference and prediction of a run's best and worst patient, in three cuts.

    python docs/scripts/pictures.py RUN_FOLDER OUT.png [--data FOLDER]

RUN_FOLDER is what `bench run` prints at its end; `--data` is that of the run.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch
from numpy.typing import NDArray

from contrabench.contracts import registry
from contrabench.data.bank import to_slices
from contrabench.data.geometry import canonical
from contrabench.data.prepare import class_indices
from contrabench.protocol import ORIENTATIONS
from contrabench.text import budget_words

mpl.use("Agg")


def cut(volume: NDArray[Any], orientation: Any, centre: NDArray[np.int64]) -> NDArray[Any]:
    """The slice through a voxel, as radiologists show it."""
    place = {"axial": centre[2], "coronal": centre[1], "sagittal": centre[0]}[orientation]
    slices: NDArray[Any] = to_slices(torch.from_numpy(volume.copy()), orientation).numpy()
    return slices[place]


def main() -> None:
    """Reads the run and writes one PNG."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path)
    wanted = parser.parse_args()
    record = json.loads((wanted.run / "run.json").read_text())
    protocol = record["protocol"]
    dataset_class = registry.datasets.get(protocol["dataset"])
    options = dataset_class.Options.model_validate(protocol["dataset_options"])
    dataset = dataset_class(wanted.data, options)
    scored = wanted.run.parents[1] / "stages" / "evaluate" / record["stages"]["evaluate"]
    scores = json.loads((scored / "scores.json").read_text())
    means = {
        case: np.mean([row["dice"] for row in scores if row["case"] == case])
        for case in {row["case"] for row in scores}
    }
    ranked = sorted(means, key=lambda case: (-means[case], case))
    files = {row["case"]: row["file"] for row in scores}
    cases = {case.id: case for case in dataset.cases()}
    colours = mpl.colormaps["Set1"](np.arange(len(dataset.structures)))
    figure, axes = plt.subplots(
        4, 3, figsize=(9, 11.6), gridspec_kw={"height_ratios": [1, 1, 1, 1]}, layout="constrained"
    )
    for block, case in enumerate((ranked[0], ranked[-1])):
        volume = canonical(dataset.load(cases[case]))
        reference = class_indices(volume.label, dataset.structures)
        prediction = np.load(scored / files[case])["prediction"]
        centre = np.argwhere(reference > 0).mean(axis=0).round().astype(int)
        spacing = np.linalg.norm(volume.affine[:3, :3], axis=0)
        low, high = np.percentile(volume.image[reference > 0], [0.5, 99.5])
        low -= 0.5 * (high - low)
        for column, orientation in enumerate(ORIENTATIONS):
            rows, cols = {"axial": (1, 0), "coronal": (2, 0), "sagittal": (2, 1)}[orientation]
            for line, (labels, word) in enumerate(
                ((reference, "reference"), (prediction, "prediction"))
            ):
                axis = axes[2 * block + line][column]
                axis.imshow(
                    cut(volume.image, orientation, centre),
                    cmap="gray",
                    vmin=low,
                    vmax=high,
                    aspect=spacing[rows] / spacing[cols],
                )
                marks = cut(labels, orientation, centre)
                overlay = np.zeros((*marks.shape, 4))
                overlay[marks > 0] = colours[marks[marks > 0] - 1]
                overlay[..., 3] *= 0.45
                axis.imshow(overlay, aspect=spacing[rows] / spacing[cols])
                axis.set_axis_off()
                if column == 0:
                    axis.set_title(
                        f"{'best' if block == 0 else 'worst'}: {case}, {word}"
                        + (f", Dice {means[case]:.3f}" if line else ""),
                        fontsize=9,
                        loc="left",
                    )
    handles = [plt.Line2D([], [], color=c, linewidth=6, alpha=0.6) for c in colours]
    names = [structure.name for structure in dataset.structures]
    figure.legend(handles, names, loc="outside lower center", ncols=min(4, len(names)), fontsize=8)
    title = (
        f"{record['variant']}, {budget_words([record['spec']['labels']])}, {protocol['dataset']}"
    )
    figure.suptitle(title, fontsize=11)
    figure.savefig(wanted.out, dpi=80, facecolor="white")


if __name__ == "__main__":
    main()
