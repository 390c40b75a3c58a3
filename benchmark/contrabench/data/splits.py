"""Folds by patient, and nested label manifests: who may be seen, and whose masks.

Both are stored as files with a hash, so that a row can name exactly the patients behind it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from contrabench.errors import RequestError
from contrabench.files import write_text
from contrabench.protocol import Frozen, digest, seed_for


class Split(Frozen):
    """One fold of a cross-validation over patients; all names are sorted.

    `train` are patients whose images may be pre-trained on, `labelled` those of them that have
    references at all; every labelled patient is in one fold's `test`.
    """

    fold: int
    folds: int
    seed: int
    train: tuple[str, ...]
    labelled: tuple[str, ...]
    test: tuple[str, ...]


class LabelManifest(Frozen):
    """The patients whose labels may be used."""

    labels: str = Field(description="the fraction as asked for, e.g. 10%")
    fraction: float
    draw: int
    patients: tuple[str, ...]
    of: int = Field(description="labelled training patients there are")

    def sentence(self) -> str:
        """States the count in words, e.g. `10% of 16 training patients = 2 labelled`."""
        return f"{self.labels} of {self.of} training patients = {len(self.patients)} labelled"


def parse_fraction(text: str) -> float:
    """Reads a label fraction such as `10%`, `12.5%` or `0.1`; RequestError if not in (0, 1]."""
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise RequestError(
            f"'{text}' is no share of the training patients; write a percentage above 0% and up "
            "to 100%, such as 10%"
        )
    return value


def make_split(
    patients: Sequence[str], unlabelled: Sequence[str], folds: int, fold: int, seed: int
) -> Split:
    """Makes one fold, numbered from 0; the order of the arguments' patients does not matter.

    Those without references, `unlabelled`, join every training pool and no test set. RequestError
    if there are fewer patients than folds, or no such fold.
    """
    if not 2 <= folds <= len(patients):
        raise RequestError(
            f"{folds} folds over {len(patients)} labelled patients cannot be made; "
            f"choose 2 to {len(patients)} with --folds"
        )
    if not 0 <= fold < folds:
        raise RequestError(f"there is no fold {fold}; folds are numbered 0 to {folds - 1}")
    test = set(_shuffled(patients, "split", seed)[fold::folds])
    labelled = [patient for patient in patients if patient not in test]
    return Split(
        fold=fold,
        folds=folds,
        seed=seed,
        train=tuple(sorted([*labelled, *unlabelled])),
        labelled=tuple(sorted(labelled)),
        test=tuple(sorted(test)),
    )


def draw_labels(split: Split, labels: str, draw: int, seed: int) -> LabelManifest:
    """Draws the labelled patients: a prefix of one shuffled list, so that fractions nest.

    `max(1, round(fraction * patients))`, halves rounded up. Each number of a draw is another
    order of the patients; the seed is that of the purpose `labels`.
    """
    fraction = parse_fraction(labels)
    order = _shuffled(split.labelled, "labels", seed, draw, split.fold, split.folds)
    count = max(1, math.floor(fraction * len(order) + 0.5))
    return LabelManifest(
        labels=f"{100 * fraction:g}%",
        fraction=fraction,
        draw=draw,
        patients=tuple(sorted(order[:count])),
        of=len(order),
    )


def _shuffled(patients: Sequence[str], *purpose: object) -> list[str]:
    """The patients in an order that depends on their names and the purpose alone."""
    order = sorted(patients)
    random.Random(seed_for(*purpose)).shuffle(order)
    return order


def save_manifest(folder: Path, name: str, content: Split | LabelManifest) -> str:
    """Writes a split or manifest once, as `folder/name-hash.json`, and returns its hash."""
    key = digest(content)
    path = folder / f"{name}-{key}.json"
    if not path.is_file():
        write_text(path, content.model_dump_json(indent=2) + "\n")
    return key
