"""How alike different hearts look to the check of rule 1, and copies in disguise.

    python docs/scripts/alike_hearts.py acdc=ACDC mmwhs=MMWHS "phantom[patients=150]" --every 5

Takes any datasets with their options and folders. Prints the largest likeness between volumes of
different patients, the smallest between the volumes of one patient, and the smallest between a
volume and each of its disguises, for every n-th volume (`--every`). The threshold of
`data/likeness.py` stands in the middle between different hearts and copies.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contrabench.contracts.dataset import Volume
from contrabench.contracts.options import parse_options
from contrabench.contracts.registry import datasets
from contrabench.data.grid import shrink
from contrabench.data.likeness import SAME_HEART, likeness_of, pattern_of, similarity
from contrabench.data.reading import list_cases, load_checked
from contrabench.text import split_words

Image = NDArray[np.float32]


def noisy(image: Image, deviations: float) -> Image:
    """Gaussian noise in units of the image's own deviation."""
    noise = np.random.default_rng(0).normal(0, deviations * image.std(), image.shape)
    return (image + noise).astype(np.float32)


def resampled(image: Image, plane: float, depth: float) -> Image:
    """The same extent with more or fewer voxels, in another spacing."""
    x, y, z = image.shape
    return shrink(image, (round(plane * x), round(plane * y), max(3, round(depth * z))))


def contrast(image: Image, gamma: float) -> Image:
    """A gamma curve between the least and the largest value."""
    low, high = float(image.min()), float(image.max())
    return np.asarray(((image - low) / (high - low)) ** gamma, np.float32)


def cropped(image: Image, share: float) -> Image:
    """Less a share of each side, in the plane."""
    cuts = (slice(int(n * share), n - int(n * share)) for n in image.shape[:2])
    return image[tuple(cuts)]


DISGUISES: dict[str, Callable[[Image], Image]] = {
    "mirrored, x": lambda image: image[::-1],
    "mirrored, y and z": lambda image: image[:, ::-1, ::-1],
    "noise of 0.3 deviations": lambda image: noisy(image, 0.3),
    "noise of 1 deviation": lambda image: noisy(image, 1.0),
    "0.7 of the voxels a side": lambda image: resampled(image, 0.7, 0.7),
    "half of the voxels a side": lambda image: resampled(image, 0.5, 0.5),
    "1.4 times the voxels a side": lambda image: resampled(image, 1.4, 1.4),
    "half of the slices": lambda image: resampled(image, 1, 0.5),
    "gamma 0.7": lambda image: contrast(image, 0.7),
    "gamma 1.5": lambda image: contrast(image, 1.5),
    "0.7, mirrored, noise, gamma": lambda image: contrast(
        noisy(resampled(image, 0.7, 0.7)[::-1], 0.3), 0.8
    ),
    "cropped by 2 % a side": lambda image: cropped(image, 0.02),
    "cropped by 5 % a side": lambda image: cropped(image, 0.05),
}


def measure(name: str, options: str, root: Path | None, every: int) -> Iterator[str]:
    """The figures of one dataset, line by line."""
    kind = datasets.get(name)
    dataset = kind(root, parse_options(kind.Options, split_words(options), name))
    cases, patterns, spent = list_cases(dataset), [], 0.0
    lowest = dict.fromkeys(DISGUISES, 1.0)
    for number, case in enumerate(cases):
        volume = load_checked(dataset, case)
        started = time.perf_counter()
        pattern = likeness_of(Volume(volume.image, None, volume.affine)).pattern
        spent += time.perf_counter() - started
        patterns.append(pattern)
        if number % every:
            continue
        for title, disguise in DISGUISES.items():
            other = pattern_of(np.ascontiguousarray(disguise(volume.image)))
            lowest[title] = min(lowest[title], similarity(pattern[None], other[None]).item())
    everything = np.stack(patterns)
    started = time.perf_counter()
    alike = similarity(everything, everything)
    compared = time.perf_counter() - started
    patients = np.array([case.patient for case in cases])
    strangers = np.where(patients[:, None] != patients, alike, -1)
    one, other = np.unravel_index(int(strangers.argmax()), strangers.shape)
    yield f"{name}: {len(cases)} volumes of {len(set(patients))} patients"
    yield f"  {1000 * spent / len(cases):.0f} ms a volume, {1000 * compared:.0f} ms for all pairs"
    closest = f"{cases[one].id} and {cases[other].id}"
    yield f"  different patients, largest: {strangers.max():.3f} ({closest})"
    same = alike[(patients[:, None] == patients) & ~np.eye(len(cases), dtype=bool)]
    if same.size:
        yield f"  volumes of one patient, smallest: {same.min():.3f}"
    for title, value in lowest.items():
        mark = "" if value >= SAME_HEART else "  not recognised"
        yield f"  {title}, smallest: {value:.3f}{mark}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("datasets", nargs="+", metavar="NAME")
    parser.add_argument("--every", type=int, default=1, help="disguise every n-th volume alone")
    asked = parser.parse_args()
    sys.stdout.write(f"one heart from {SAME_HEART} on\n")
    for word in asked.datasets:
        described = re.fullmatch(r"(\w+)(?:\[(.*)\])?(?:=(.*))?", word)
        if described is None:
            parser.error(f"'{word}' is not NAME, NAME=FOLDER or NAME[option=value]=FOLDER")
        name, options, folder = described.groups()
        for line in measure(name, options or "", Path(folder) if folder else None, asked.every):
            sys.stdout.write(f"{line}\n")
