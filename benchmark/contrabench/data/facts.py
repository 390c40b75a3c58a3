"""What a reader should know of the volumes of a dataset before anything is trained on them.

Nothing of it is a fault: what was decided in reading, and what the network cannot see.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from contrabench.budgets import BUDGETS
from contrabench.contracts.dataset import Case, Dataset, Note, Structure
from contrabench.data.geometry import acquired, canonical
from contrabench.data.grid import spacing_of, working_grid
from contrabench.data.likeness import Likeness, likeness_of
from contrabench.data.nifti import codes_of
from contrabench.data.prepare import PreparedCase, lay_label
from contrabench.data.reading import checked_structures, for_each_case, list_cases, read_checked
from contrabench.progress import Reporter
from contrabench.text import counted, some

_OUTSIDE = 0.01
"""Share of a reference outside the field of view from which on it is told."""


@dataclass(frozen=True)
class Facts:
    """What was measured of one case, its axes as the network has them.

    Attributes:
        codes: where the axes point as the file stores them.
        sides: of a voxel in mm.
        millilitres: by structure; None for an unlabelled case.
        outside: share of the reference outside the field of view.
        gone: structures that the working grid of the standard budget is too coarse for.
    """

    case: Case
    codes: str
    shape: tuple[int, int, int]
    sides: tuple[float, float, float]
    millilitres: tuple[float, ...] | None
    outside: float
    notes: tuple[Note, ...]
    gone: tuple[str, ...]


def check_cases(dataset: Dataset, reporter: Reporter) -> list[Facts]:
    """Reads, checks and measures every case of a dataset; raises as `for_each_case`."""
    cases = list_cases(dataset)
    structures = checked_structures(dataset) if any(case.labelled for case in cases) else ()

    def check(case: Case) -> tuple[Facts, Likeness]:
        stored = read_checked(dataset, case)
        turned = canonical(stored)
        volume = acquired(turned)
        x, y, z = shape = volume.image.shape[-3:]
        millilitres: tuple[float, ...] | None = None
        outside, gone = 0.0, tuple[str, ...]()
        if case.labelled and volume.label is not None:
            pixels = BUDGETS["standard"].pixels
            grid = working_grid((x, y, z), volume.affine, dataset.recipe.field_of_view_mm, pixels)
            laid = lay_label(volume.label, structures, grid)
            counts = np.bincount(laid.native.ravel(), minlength=len(structures) + 1)[1:]
            voxel = math.prod(spacing_of(volume.affine)) / 1000
            millilitres = tuple(float(count * voxel) for count in counts)
            outside, gone = laid.outside, laid.gone
        facts = Facts(
            case,
            codes_of(stored.affine),
            shape,
            spacing_of(volume.affine),
            millilitres,
            outside,
            volume.notes,
            gone,
        )
        return facts, likeness_of(turned)

    return for_each_case(cases, dataset.info.title, check, "reading cases", reporter)


def grouped(notes: Iterable[tuple[str, Note]]) -> Iterator[str]:
    """A line for each kind of note, of cases by name."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for case, note in notes:
        found[note.what].append((case, note.detail))
    for what, those in found.items():
        details = list(dict.fromkeys(detail for _, detail in those))
        example = details[0] + (f" in {those[0][0]}" if len(details) > 1 else "")
        tail = f" ({example})" if details[0] else ""
        yield f"{counted(len(those), 'case')} ({some(case for case, _ in those)}): {what}{tail}"


def outside_line(outside: Mapping[str, float], field_of_view: float) -> Iterator[str]:
    """A line if the share of the references outside the field of view, by case, is worth one."""
    if far := {case: share for case, share in outside.items() if share > _OUTSIDE}:
        worst = max(far, key=lambda case: far[case])
        whole = sum(share == 1 for share in far.values())
        yield (
            f"{counted(len(far), 'case')} ({some(far)}): more than {_OUTSIDE:.0%} of the reference "
            f"lies outside the field of view, {field_of_view:g} mm about the volume's centre "
            f"({far[worst]:.0%} in {worst}"
            + (f", all of it in {counted(whole, 'case')}" if whole else "")
            + "), and counts as missed"
        )


def unseen_line(
    structures: Sequence[Structure], seen: Iterable[int], whose: str = "labelled patient"
) -> Iterator[str]:
    """A line if no label shows some of the structures; structure k has class k + 1."""
    classes = set(seen)
    if lacking := [one.name for k, one in enumerate(structures, start=1) if k not in classes]:
        yield f"no {whose} shows {some(lacking, 10)}; no network can learn what it never sees"


def told(cases: Sequence[PreparedCase], structures: Sequence[Structure], field: float) -> list[str]:
    """All that has to be told of prepared cases, a line each; `field` is that of view in mm."""
    labelled = [case for case in cases if case.labelled]
    return [
        *grouped((case.case, note) for case in cases for note in case.notes),
        *outside_line({case.case: case.outside for case in labelled}, field),
        *(unseen_line(structures, {k for c in labelled for k in c.classes}) if labelled else ()),
    ]
