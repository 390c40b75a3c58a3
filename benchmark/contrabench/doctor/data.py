"""The faults of a dataset's own files, and a table of its volumes with the outliers marked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median

from contrabench.budgets import BUDGETS
from contrabench.contracts.dataset import Dataset, Note, Structure
from contrabench.data.facts import Facts, check_cases, grouped, outside_line, unseen_line
from contrabench.data.untaken import untaken_line
from contrabench.doctor.findings import Finding, Looking, Property
from contrabench.errors import DataError
from contrabench.progress import Reporter
from contrabench.text import counted

_FAR, _LEAST = 3.5 * 1.4826, 1.25
"""An outlier is so many median absolute deviations of the logarithm away (3.5 robust standard
deviations, Iglewicz and Hoaglin 1993), and by this factor at least."""
_ENOUGH = 5
"""Cases from which on there are outliers."""


def check_dataset(dataset: Dataset, reporter: Reporter) -> Looking:
    """Reads every case of a dataset and tells all its faults; nothing is trained or kept."""
    try:
        facts = check_cases(dataset, reporter)
    except DataError as error:
        for fault in error.faults:
            yield Finding("error", fault, "no run starts before it is mended")
        return "read"
    cases = [one.case for one in facts]
    patients = len({case.patient for case in cases})
    labelled = [one for one in facts if one.millilitres is not None]
    structures = dataset.structures if labelled else ()
    yield from properties(facts, structures)
    for line in _lost(labelled, structures, dataset.recipe.field_of_view_mm):
        yield Finding("warning", line, "what a network cannot see it cannot learn")
    for line in _lone(labelled, structures):
        yield Finding(
            "warning",
            line,
            "a value that is a slip is scored as a structure and lowers every mean",
            "mend that mask, or name what the structures are",
        )
    for line in grouped((one.case.id, note) for one in facts for note in one.notes):
        yield Finding("information", line, "", "put the headers right if it is not as it should be")
    for line in untaken_line(dataset, cases):
        yield Finding("information", line, "", f"if they are meant: {dataset.info.layout}")
    return (
        f"{counted(len(cases), 'case')} of {counted(patients, 'patient')}, {len(labelled)} labelled"
    )


def _lost(
    labelled: Sequence[Facts], structures: Sequence[Structure], field_of_view: float
) -> Iterator[str]:
    """What of the labels no network will see."""
    if labelled:
        seen = {k for one in labelled for k, ml in enumerate(one.millilitres or (), 1) if ml > 0}
        yield from unseen_line(structures, seen)
    yield from outside_line({one.case.id: one.outside for one in labelled}, field_of_view)
    where = f"is gone at the {BUDGETS['standard'].pixels} pixels of the budget standard"
    yield from grouped(
        (one.case.id, Note(f"'{name}' {where}")) for one in labelled for name in one.gone
    )


def _lone(labelled: Sequence[Facts], structures: Sequence[Structure]) -> Iterator[str]:
    """Structures that one mask of several has, and no other."""
    if len(labelled) < _ENOUGH:
        return
    for index, structure in enumerate(structures):
        shown = [one for one in labelled if one.millilitres and one.millilitres[index] > 0]
        if len(shown) == 1:
            size = (shown[0].millilitres or ())[index]
            yield (
                f"'{structure.name}' is in {shown[0].case.id} alone ({size:.3g} ml), of "
                f"{len(labelled)} that are labelled"
            )


def properties(facts: Sequence[Facts], structures: Sequence[Structure]) -> Iterator[Property]:
    """The table of a dataset: geometry of its volumes, and sizes of its structures."""
    yield _most("axes as stored", facts, [one.codes for one in facts])
    sizes: dict[str, Sequence[float]] = {
        "voxels in plane": [math.sqrt(one.shape[0] * one.shape[1]) for one in facts],
        "slices": [one.shape[2] for one in facts],
        "side in plane, mm": [math.sqrt(one.sides[0] * one.sides[1]) for one in facts],
        "between slices, mm": [one.sides[2] for one in facts],
    }
    for axis, name in enumerate(("extent across, mm", "extent down, mm", "extent through, mm")):
        sizes[name] = [one.shape[axis] * one.sides[axis] for one in facts]
    for name, values in sizes.items():
        yield _middle(name, facts, values)
    labelled = {one: one.millilitres for one in facts if one.millilitres is not None}
    for index, structure in enumerate(structures):
        values = [millilitres[index] for millilitres in labelled.values()]
        yield _middle(f"{structure.name}, ml", list(labelled), values)


def _most(what: str, facts: Sequence[Facts], values: Sequence[str]) -> Property:
    """A property of names: how often each, and who has a rare one."""
    found = Counter(values)
    words = ", ".join(f"{name} {count}" for name, count in found.most_common())
    few = max(len(facts) / 10, 1 if len(facts) >= _ENOUGH else 0)
    rare = {name for name, count in found.items() if count <= few}
    named = zip(facts, values, strict=True)
    apart = tuple(f"{one.case.id} {value}" for one, value in named if value in rare)
    return Property(what, found.most_common(1)[0][0], words, apart)


def _middle(what: str, facts: Sequence[Facts], values: Sequence[float]) -> Property:
    """A property of numbers: median, least and most, and who is an outlier, the furthest first."""
    logs = [math.log(max(value, 1e-9)) for value in values]
    centre = median(logs)
    away = [abs(log - centre) for log in logs]
    far = max(_FAR * median(away), math.log(_LEAST))
    named = sorted(zip(away, facts, values, strict=True), key=lambda one: -one[0])
    apart = tuple(
        f"{one.case.id} {value:.3g}"
        for distance, one, value in named
        if distance > far and len(facts) >= _ENOUGH
    )
    span = f"{min(values):.3g} to {max(values):.3g}" if min(values) < max(values) else "the same"
    return Property(what, f"{median(values):.3g}", span, apart)
