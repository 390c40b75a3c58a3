"""A split of the user's own: read from a file, and laid over the patients that there are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contrabench.contracts.split import GivenFold, GivenSplit
from contrabench.data.splits import Split
from contrabench.errors import RequestError
from contrabench.protocol import digest
from contrabench.text import composed, counted, some

if TYPE_CHECKING:
    from contrabench.data.prepare import PreparedCase

_FORMS = (
    'nnU-Net\'s splits_final.json, a list of {"train": [...], "val": [...]} by case, or '
    '{"train": [...], "val": [...], "test": [...]} by patient'
)


def read_split(path: Path) -> GivenSplit:
    """Reads a split, whose form its content tells; RequestError if it has none that is known.

    FileNotFoundError if there is no such file. Of nnU-Net's list each fold's `val` is tested. A
    plain split may have no `val`, and may have `labelled`, the order in which labels are given.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RequestError(f"the split {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{path} is no JSON, and so no split; expected {_FORMS}") from error
    if isinstance(content, list) and content:
        parts = [
            _lists(path, part, f"fold {n}: ", "train", "val") for n, part in enumerate(content)
        ]
        return GivenSplit(folds=tuple(GivenFold(train=p["train"], test=p["val"]) for p in parts))
    lists = _lists(path, content, "", "train", "test", may=("val", "labelled"))
    labelled = lists.pop("labelled", ())
    return GivenSplit(folds=(GivenFold(**lists),), labelled=labelled)


def _lists(
    path: Path, content: Any, where: str, *must: str, may: tuple[str, ...] = ()
) -> dict[str, tuple[str, ...]]:
    """The lists of names of a fold by key; RequestError with what is wrong and what is expected."""
    if not isinstance(content, dict):
        fault = f"{where or 'it '}is no object with lists of names"
    elif missing := [key for key in must if not content.get(key)]:
        fault = f"{where}'{missing[0]}' is missing or empty"
    elif unknown := [key for key in content if key not in (*must, *may)]:
        fault = f"{where}'{unknown[0]}' is unknown"
    elif wrong := [key for key, names in content.items() if not _are_names(names)]:
        fault = f"{where}'{wrong[0]}' is no list of names"
    else:
        return {key: tuple(map(composed, names)) for key, names in content.items()}
    raise RequestError(f"the split {path} cannot be used: {fault}; expected {_FORMS}")


def _are_names(names: object) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) and name for name in names)


@dataclass(frozen=True)
class LaidSplit:
    """A given split as it lies over the patients of a dataset.

    Attributes:
        folds: by number.
        labelled: patients in the order in which draw 0 labels them.
        notes: what it leaves out, one line each, for the reader.
    """

    folds: tuple[Split, ...]
    labelled: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def hash(self) -> str:
        """Of who is trained on, tested and labelled first: what the rows' numbers depend on."""
        folds = [fold.model_dump(mode="json") for fold in self.folds]
        return digest({"folds": folds, "labelled": list(self.labelled)})


def lay_split(given: GivenSplit, cases: Sequence[PreparedCase]) -> LaidSplit:
    """Lays a split over the patients of some cases.

    Names that no case and no patient has are left out, and told. Of the patients that a fold does
    not name those without references join its training; those with some are left out, and told.
    RequestError if a patient is on two sides of a fold or is tested in two folds, or if a fold has
    no patient left to test, or none with labels to train on.
    """
    everyone = {case.patient for case in cases}
    known = {composed(patient): patient for patient in everyone}
    known |= {composed(case.case): case.patient for case in cases}
    referenced = {case.patient for case in cases if case.labelled}
    folds, unnamed = [], set(referenced)
    for number, part in enumerate(given.folds):
        sides = _sides(part, known, number)
        named = set().union(*sides.values())
        unnamed -= named
        train = sides["train"] | (everyone - named - referenced)
        test = sides["test"] & referenced
        for what, there in (("to test", test), ("with labels to train on", train & referenced)):
            if not there:
                raise RequestError(
                    f"fold {number} of the split has no patient {what} in this data; the split "
                    f"names {some(part.train)}, the data has {some(sorted(everyone))}"
                )
        folds.append(
            Split(
                fold=number,
                folds=len(given.folds),
                seed=0,
                train=tuple(sorted(train)),
                labelled=tuple(sorted(train & referenced)),
                test=tuple(sorted(test)),
            )
        )
    _check_tested_once(folds)
    order = dict.fromkeys(known[name] for name in given.labelled if name in known)
    if stray := [name for name in order if not any(name in fold.train for fold in folds)]:
        raise RequestError(
            f"'labelled' of the split names {some(stray)}, who is in no 'train'; take it out there"
        )
    notes = tuple(_notes(given, folds, known, referenced, unnamed))
    return LaidSplit(tuple(folds), tuple(order), notes)


def _sides(part: GivenFold, known: Mapping[str, str], fold: int) -> dict[str, set[str]]:
    """The patients of a fold by side; RequestError if one is on two."""
    sides: dict[str, set[str]] = {}
    for side in ("train", "val", "test"):
        patients = {known[name] for name in getattr(part, side) if name in known}
        for other, held in sides.items():
            if both := sorted(patients & held):
                named = [
                    next(name for name in getattr(part, each) if known.get(name) == both[0])
                    for each in (other, side)
                ]
                raise RequestError(
                    f"fold {fold} of the split has patient {both[0]} on two sides: {named[0]} in "
                    f"{other}, {named[1]} in {side}; all cases of a patient belong on one, or the "
                    "test would be of patients seen in training"
                )
        sides[side] = patients
    return sides


def _check_tested_once(folds: list[Split]) -> None:
    """RequestError if a patient is tested in two folds: it would count twice as if it were two."""
    place: dict[str, int] = {}
    for fold in folds:
        for patient in fold.test:
            if patient in place:
                raise RequestError(
                    f"the split tests patient {patient} in fold {place[patient]} and in fold "
                    f"{fold.fold}; a patient can be tested once, so leave only such folds in it"
                )
            place[patient] = fold.fold


def _notes(
    given: GivenSplit,
    folds: list[Split],
    known: Mapping[str, str],
    referenced: set[str],
    unnamed: set[str],
) -> Iterator[str]:
    """What a split is, and what of it or of the data is left out."""
    name = f"split of {given.source}" if given.source else "own split"
    train, test = ([len(getattr(fold, side)) for fold in folds] for side in ("train", "test"))
    yield (
        f"{name}; {counted(len(folds), 'fold')}, {_range(train)} to train on and {_range(test)} to "
        "test on"
    )
    every = [*(n for p in given.folds for n in (*p.train, *p.val, *p.test)), *given.labelled]
    if missing := sorted(set(every) - set(known)):
        yield (
            f"{counted(len(missing), 'name')} of the split not in this data, and so left out: "
            f"{some(missing)}"
        )
    held = {known[name] for part in given.folds for name in part.val if name in known}
    if held:
        yield (
            f"{counted(len(held), 'patient')} in val neither trained on nor tested, since no "
            f"checkpoint is chosen: {some(sorted(held))}"
        )
    if unnamed:
        yield (
            f"{counted(len(unnamed), 'labelled patient')} not named by the split, and so left out: "
            f"{some(sorted(unnamed))}"
        )
    tested = {known[name] for part in given.folds for name in part.test if name in known}
    if mute := sorted(tested - referenced):
        yield (
            f"{counted(len(mute), 'patient')} of test without labels, and so neither trained on "
            f"nor tested: {some(mute)}"
        )


def _range(counts: Sequence[int]) -> str:
    few, many = min(counts), max(counts)
    return counted(few, "patient") if few == many else f"{few} to {many} patients"
