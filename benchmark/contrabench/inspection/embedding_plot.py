"""Draws the features of encoders in two dimensions, coloured by what they might encode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler

from contrabench.errors import RequestError
from contrabench.inspection.representation import Array, Points
from contrabench.protocol import ORIENTATIONS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Projection = Literal["tsne", "umap"]

_NAMES = {"tsne": "t-SNE", "umap": "UMAP"}
_NAMED = 10
_SIDE = 4.2


def flatten(features: Array, projection: Projection = "tsne") -> Array:
    """Lays features (n, d) out in a plane, by way of their first 50 principal components.

    By t-SNE of scikit-learn, or UMAP of the package `umap-learn`; RequestError if that is not
    installed. Gives (n, 2), the same for equal features.
    """
    standard = StandardScaler().fit_transform(features)
    reduced = PCA(min(50, *standard.shape), random_state=0).fit_transform(standard)
    if projection == "umap":
        near = min(15, len(features) - 1)
        layout: Any = _umap()(n_neighbors=near, random_state=0, n_jobs=1)
    else:
        perplexity = min(30.0, (len(features) - 1) / 3)
        layout = TSNE(perplexity=perplexity, init="pca", random_state=0)
    plane: Array = layout.fit_transform(reduced)
    return plane


def check_projection(projection: Projection) -> None:
    """Refuses a projection whose package is not installed."""
    if projection == "umap":
        _umap()


def _umap() -> Any:
    """The class of UMAP, an extra that pulls a compiler."""
    try:
        from umap import UMAP
    except ImportError as error:
        raise RequestError(
            "UMAP is not installed; pip install 'contrabench[umap]', or leave out --projection"
        ) from error
    return UMAP


def draw(
    path: Path,
    title: str,
    encoders: Mapping[str, Points],
    structures: Sequence[str],
    patients: Sequence[str],
    projection: Projection = "tsne",
) -> None:
    """Writes a PNG: a row for each encoder; structure, orientation and patient beside.

    `encoders` are points of the same slices or cells, by the encoder's name; `structures` names
    structures 1, 2, ..., `patients` patients 0, 1, ... RequestError if the projection's package is
    not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3 * _SIDE, len(encoders) * _SIDE + 1.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(encoders), 3, squeeze=False)
    for row, (name, points) in zip(axes, encoders.items(), strict=True):
        plane = flatten(points.features, projection)
        _scatter(row[0], plane, points.structure, ("none", *structures), grey_first=True)
        _scatter(row[1], plane, points.orientation, ORIENTATIONS)
        _scatter(row[2], plane, points.patient, patients)
        row[0].set_ylabel(f"{name} encoder", fontsize=11)
    unit = next(iter(encoders.values())).unit
    headings = (f"largest structure in the {unit}", "orientation", "patient")
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.02), "ncols": 2, "markerscale": 2.5}
    for first, last, heading in zip(axes[0], axes[-1], headings, strict=True):
        first.set_title(heading, fontsize=11)
        if (named := len(last.get_legend_handles_labels()[1])) <= _NAMED:
            last.legend(fontsize=9, frameon=False, **below)
        else:
            last.set_xlabel(f"{named} patients, one colour each", fontsize=9)
    figure.suptitle(
        f"{title} ({_NAMES[projection]}; distances between clusters mean little)", fontsize=12
    )
    figure.savefig(path, dpi=110, facecolor="white", format="png")


def _scatter(
    axis: Axes,
    plane: Array,
    values: NDArray[np.int64],
    words: Sequence[str],
    grey_first: bool = False,
) -> None:
    """One panel; each value has its colour, the first grey where it says `none`."""
    from matplotlib import colormaps

    palette = colormaps["tab10" if len(words) - grey_first <= _NAMED else "turbo"]
    size = float(np.clip(6000 / len(plane), 6, 24))
    for value, word in enumerate(words):
        here = values == value
        number = value - grey_first
        share = number if palette.N <= _NAMED else number / max(1, len(words) - 1 - grey_first)
        colour = "0.8" if grey_first and value == 0 else palette(share)
        x, y = plane[here].T
        axis.scatter(x, y, s=size, color=colour, label=word, linewidths=0)
    axis.set(xticks=[], yticks=[])
