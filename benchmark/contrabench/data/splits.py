"""Folds by patient, and nested label manifests: who may be seen, and whose masks.

Both are stored as files with a hash, so that a row can name exactly the patients behind it.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from contrabench.errors import RequestError
from contrabench.files import write_text
from contrabench.protocol import Frozen, digest, seed_for
from contrabench.text import counted

TESTED = 6
"""Patients that must be tested before a sign-flip test can reach 5 %: 2 / 2**6 is below it."""
NO_FOLDS = 0
"""Folds of a network that is made to be used: everybody is trained on, and nobody is tested."""
_COUNT = re.compile(r"([1-9][0-9]{0,8})(?: patients?)?")


class Split(Frozen):
    """One fold over patients, drawn or given; all names are sorted.

    `train` are patients whose images may be pre-trained on, `labelled` those of them that have
    references at all. In a cross-validation every labelled patient is in one fold's `test`.
    """

    fold: int
    folds: int
    seed: int
    train: tuple[str, ...]
    labelled: tuple[str, ...]
    test: tuple[str, ...]


class LabelManifest(Frozen):
    """The patients whose labels may be used."""

    labels: str = Field(description="as asked for: 10%, or 3 patients")
    fraction: float = Field(description="the share asked for; of a count, that of the patients")
    draw: int
    patients: tuple[str, ...]
    of: int = Field(description="labelled training patients there are")

    def sentence(self) -> str:
        """States the count in words, e.g. `10% of 16 training patients = 2 labelled`."""
        count, training = len(self.patients), f"{self.of} training patients"
        if isinstance(parse_labels(self.labels), int):
            return f"{count} of {training} labelled"
        return f"{self.labels} of {training} = {count} labelled"


def parse_labels(text: str) -> int | float:
    """Reads a label budget: a number of patients, `3`, or a share of them, `10%` or `0.1`.

    `1` is one patient, and `1.0` all of them. RequestError if it is neither a count from 1 on nor
    a share in (0, 1].
    """
    if count := _COUNT.fullmatch(text.strip()):
        return int(count[1])
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise RequestError(
            f"'{text}' is no share of the training patients and no number of them; write a "
            "percentage above 0% and up to 100%, such as 10%, or a count, such as 3"
        )
    return value


def labels_text(budget: float) -> str:
    """A label budget as rows and tables write it: `10%`, or `3 patients` for a count."""
    return counted(budget, "patient") if isinstance(budget, int) else f"{100 * budget:g}%"


def make_split(
    patients: Sequence[str], unlabelled: Sequence[str], folds: int, fold: int, seed: int
) -> Split:
    """Makes one fold, numbered from 0; the order of the arguments' patients does not matter.

    Those without references, `unlabelled`, join every training pool and no test set; with
    `NO_FOLDS` so do all others. RequestError if there are fewer patients than folds, or no such
    fold.
    """
    if folds == NO_FOLDS and patients:
        everybody = tuple(sorted([*patients, *unlabelled]))
        known = tuple(sorted(patients))
        return Split(fold=0, folds=folds, seed=seed, train=everybody, labelled=known, test=())
    if not 2 <= folds <= len(patients):
        raise RequestError(_too_few(len(patients), len(unlabelled), folds))
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


def _too_few(labelled: int, unlabelled: int, folds: int) -> str:
    """Why so many folds cannot be made, and what can be done."""
    if folds < 2:
        return f"a cross-validation needs 2 folds at least, not {folds}; choose them with --folds"
    more = "label" if unlabelled >= folds - labelled else "add"
    # Fewer folds than this show nothing, and leave next to nobody to train on.
    other = f"choose --folds {labelled}" if labelled >= TESTED else "fit one network: bench fit"
    return (
        f"{labelled} of {counted(labelled + unlabelled, 'patient')} "
        f"{'has' if labelled == 1 else 'have'} labels, and a comparison over {folds} folds needs "
        f"{folds} at least to test on, each tested once ({TESTED} to show any difference); {more} "
        f"{folds - labelled} more or {other}"
    )


def draw_labels(
    split: Split, labels: str, draw: int, seed: int, first: Sequence[str] = ()
) -> LabelManifest:
    """Draws the labelled patients: a prefix of one shuffled list, so that budgets nest.

    A count is taken as it is; a share is `max(1, round(share * patients))`, halves rounded up.
    Each number of a draw is another order of the patients; the seed is that of the purpose
    `labels`. In draw 0 those of `first` come first, in their order. RequestError if more are asked
    for than there are.
    """
    asked = parse_labels(labels)
    order = _shuffled(split.labelled, "labels", seed, draw, split.fold, split.folds)
    if draw == 0:
        known = [patient for patient in first if patient in order]
        order = [*known, *(patient for patient in order if patient not in known)]
    count = asked if isinstance(asked, int) else max(1, math.floor(asked * len(order) + 0.5))
    if count > len(order):
        raise RequestError(
            f"labels of {counted(count, 'patient')} are asked for, and fold {split.fold} trains on "
            f"{len(order)} that have any; ask for {len(order)} at most, or for 100%"
        )
    return LabelManifest(
        labels=labels_text(asked),
        fraction=count / len(order) if isinstance(asked, int) else asked,
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
