"""What a folder of labelled and unlabelled volumes allows to be asked, and the study that asks it.

The study itself is `templates/advice.toml`; here are its label budgets, and what there is to say
where no study can show anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import contrabench
from contrabench.contracts.dataset import Dataset
from contrabench.data.grid import spacing_of
from contrabench.data.prepare import PreparedCase
from contrabench.data.reading import list_cases
from contrabench.data.splits import TESTED
from contrabench.files import read_toml
from contrabench.references import EVERY_LABEL
from contrabench.stages.kind import read_record
from contrabench.stages.run_spec import RunSpec
from contrabench.statistics.signflip import fewest_patients, lowest_p
from contrabench.store.stages import home_of
from contrabench.study.session import Session
from contrabench.text import counted, some

_SHARES = (4, 2)
"""The smaller label budgets are about the fourth part and the half of a fold's labels."""
_NAMED = 4
_DIFFERS = 0.1


@dataclass(frozen=True)
class Held:
    """What a dataset holds: patients with a label and without any, and volumes without labels."""

    labelled: int
    unlabelled: int
    volumes: int

    @property
    def words(self) -> str:
        """The counts in words."""
        more = f", {self.unlabelled} without labels"
        if self.volumes > self.unlabelled:
            more += f" ({self.volumes} volumes without labels)"
        return f"{counted(self.labelled, 'labelled patient')}{more}"


def held_by(run: RunSpec, root: Path | None, pool_root: Path | None) -> Held:
    """Counts the patients that a run would have; DataError if none of them has a label."""
    own = run.open_dataset(root)
    cases = list_cases(own)
    others = list_cases(run.open_pool(pool_root)) if run.pool else []
    labelled = {case.patient for case in cases if case.labelled}
    if not labelled:
        raise own.misplaced("no image has a label, so nothing could be tested")
    # Of one and the same dataset a patient's name is the same patient's.
    prefix = "" if run.pool == run.dataset else f"{run.pool}:"
    patients = {case.patient for case in cases} | {f"{prefix}{case.patient}" for case in others}
    without = sum(not case.labelled for case in cases) + len(others)
    return Held(len(labelled), len(patients - labelled), without)


def volume_words(dataset: Dataset, cases: Sequence[PreparedCase]) -> tuple[str, str]:
    """The structures of a dataset, and the sides of its voxels: `LV, RV` and `1.4 x 1.4 x 8 mm`.

    Sides are medians, and `about` where those of a volume differ from them by a tenth or more.
    """
    structures = some([one.name for one in dataset.structures], _NAMED)
    if not dataset.info.spacing_known:
        return structures, "size of a voxel unknown"
    sides = list(zip(*(spacing_of(case.native_affine) for case in cases), strict=True))
    usual = [median(side) for side in sides]
    pairs = zip(sides, usual, strict=True)
    differ = any(abs(side / middle - 1) >= _DIFFERS for all_, middle in pairs for side in all_)
    about = "about " if differ else ""
    return structures, f"{about}{' x '.join(f'{side:.3g}' for side in usual)} mm"


def design() -> dict[str, Any]:
    """The values of the study, but for its label budgets."""
    return read_toml(Path(contrabench.__file__).with_name("templates") / "advice.toml")


def label_budgets(found: Held, folds: int) -> list[str]:
    """Label budgets, each about twice the one before.

    All labels of a fold are one of them only where there is something without labels beside them;
    full supervision is there in any case.
    """
    trained = found.labelled - math.ceil(found.labelled / folds)
    counts = sorted({max(1, trained // share) for share in _SHARES})
    return [*map(str, counts), *([EVERY_LABEL] if found.volumes else [])]


def too_few(found: Held, family: int, words: str) -> Iterator[tuple[str, str]]:
    """What there is to say where the labelled patients cannot show anything, by topic.

    `family` is the number of rows that the study compares with scratch; `words` are those of a
    command line that name the data.
    """
    needed = fewest_patients(family)
    lacking = needed - found.labelled
    best, less = (min(1.0, family * lowest_p(number)) for number in (needed, needed - 1))
    yield (
        "Is it worth it?",
        f"That cannot be found out here: {counted(found.labelled, 'labelled patient')}, and this "
        f"comparison needs {needed}. Each labelled patient is tested once; with "
        f"{counted(family, 'row')} compared with scratch, {needed} patients who all agree are the "
        f"fewest that show a difference (adjusted p {best:.3g}; with {needed - 1} it is "
        f"{less:.3g}). Nothing was trained.",
    )
    yield (
        "What is left",
        "To take the answer from tables on data like yours, and to use it: on ACDC with one or two "
        "labelled patients it is unimatch ('Choose a method', docs/choose-a-method.md). A network "
        "that is fitted so has been tested on nobody: look at its masks.",
    )
    single = (
        f"; or compare one method: bench study --methods unimatch --without scratch_long {words}"
    )
    yield (
        "Next",
        f"Label {counted(lacking, 'more patient')}, and this command compares them"
        f"{single if found.labelled >= TESTED else ''}; or at once: bench fit --method unimatch "
        f"{words}",
    )


def spent(session: Session) -> float:
    """Seconds of work in the finished stages of a study, wherever they were made."""
    seconds = 0.0
    for stage in session.graph.stages.values():
        # A stage that is not done has no record, and one of preparation no seconds.
        with suppress(OSError, ValueError, KeyError, TypeError):
            seconds += float(
                read_record(home_of(session.store, stage.node.kind) / stage.key)["seconds"]
            )
    return seconds
