"""Values in the result rows that no scoring can have given."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from contrabench.doctor.findings import Check, Finding, Severity
from contrabench.store.rows import NOT_APPLICABLE
from contrabench.text import counted, some

if TYPE_CHECKING:
    import pandas as pd

SHARES = ("dice", "surface_dice_2mm")
DISTANCES = ("asd_mm", "hd95_mm", "asd_voxel", "asd_medpy_voxel", "asd_slice2d_mm")
SIZES = ("reference_voxels", "prediction_voxels")
_IN_MM = ("hd95_mm", "surface_dice_2mm", "asd_slice2d_mm")
_EMPTY = {"prediction empty": SIZES, "reference empty": SIZES[::-1]}
"""Flag, with the size that is above 0 and the one that is 0."""
_REMEDY = "the file was changed by hand, or scoring has a fault"


@dataclass(frozen=True)
class Fault:
    """Something that no row can say.

    Attributes:
        words: what, after "rows with".
        columns: whose values are shown.
        where: marks the rows that say it, shape (rows,).
    """

    words: str
    columns: tuple[str, ...]
    where: Callable[[pd.DataFrame], pd.Series[bool]]


def faults() -> list[Fault]:
    """Everything that is looked for; a row that is wrong in one way has one of them."""
    return [
        *(_share(column) for column in SHARES),
        *(_distance(column) for column in DISTANCES),
        *(_size(column) for column in SIZES),
        Fault("a Dice of 1 and a distance above 0", ("dice", *DISTANCES[:3]), _perfect_but_apart),
        Fault("a Dice that their sizes do not allow", ("dice", *SIZES), _too_good),
        Fault("a score missing beside others", ("dice", *DISTANCES), _missing),
        Fault("an unknown flag", ("flag",), _unknown_flag),
        Fault("no flag though a structure is empty", ("flag", *SIZES), _no_flag),
        *(_empty(flag) for flag in _EMPTY),
        Fault(f"the flag '{NOT_APPLICABLE}' and numbers", ("dice", *SIZES), _applicable),
        Fault(
            "a fold or a share of labels that cannot be",
            ("fold", "folds", "fraction", "labelled_patients", "train_patients"),
            _impossible_setting,
        ),
    ]


def check_readable(problems: Sequence[str], rows: pd.DataFrame, files: Check) -> Check:
    """Tells which runs are left out of every table because their rows cannot be read.

    Args:
        problems: a line for each, as `contrabench.store.rows.read_rows` returns them.
        rows: of the other runs.
        files: the check of the runs' files; what it has told of a run is not told again.
    """
    told = "\n".join(finding.what for finding in files.findings)
    reasons: dict[str, list[str]] = defaultdict(list)
    for problem in problems:
        run, _, reason = problem.partition(" is left out: ")
        if run not in told:
            reasons[reason].append(run.removeprefix("run "))
    findings = [
        Finding(
            Severity.error,
            f"{counted(len(runs), 'run')} left out, {some(runs)}: {reason}",
            "no table holds what cannot be read",
            "if nothing else is said: delete the folders in runs/ and run the study again",
        )
        for reason, runs in reasons.items()
    ]
    return Check("readable rows", counted(rows["run"].nunique(), "run"), tuple(findings))


def check_values(rows: pd.DataFrame) -> Check:
    """Looks for values that cannot be: one finding for each fault of each run.

    Args:
        rows: as `contrabench.store.rows.read_rows` returns them.
    """
    findings = []
    for fault in faults():
        bad = rows[fault.where(rows)]
        for run, part in bad.groupby("run", observed=True):
            first = part.iloc[0]
            shown = ", ".join(
                f"{column} {first[column]}" for column in fault.columns if first[column] != ""
            )
            finding = Finding(
                Severity.error,
                f"run {run}: {counted(len(part), 'row')} with {fault.words}; the first is "
                f"{first['case']}, {first['structure']}: {shown}",
                f"{_REMEDY}; every table with this run is wrong",
                f"delete the folder runs/{run}; run the study again",
            )
            findings.append(finding)
    return Check("impossible values", counted(len(rows), "row"), tuple(findings))


def check_repeats(rows: pd.DataFrame) -> Check:
    """Looks for a structure that a run has scored twice in one case.

    Args:
        rows: as `contrabench.store.rows.read_rows` returns them.
    """
    columns = ["run", "case", "structure"]
    twice = rows.loc[rows.duplicated(columns), columns]
    findings = []
    for run, part in twice.groupby("run", observed=True):
        names = part[["case", "structure"]].astype(str).agg(", ".join, axis=1).unique()
        finding = Finding(
            Severity.error,
            f"run {run}: rows that are there more than once: {some(names)}",
            "a case would count twice in a mean",
            f"delete the folder runs/{run}; run the study again",
        )
        findings.append(finding)
    return Check("repeated rows", counted(len(rows), "row"), tuple(findings))


def _share(column: str) -> Fault:
    def where(rows: pd.DataFrame) -> pd.Series[bool]:
        return rows[column].notna() & ~rows[column].between(0, 1)

    return Fault(f"{column} outside 0 to 1", (column,), where)


def _distance(column: str) -> Fault:
    def where(rows: pd.DataFrame) -> pd.Series[bool]:
        return (rows[column] < 0) | (rows[column] == np.inf)

    return Fault(f"{column} below 0 or infinite", (column,), where)


def _size(column: str) -> Fault:
    def where(rows: pd.DataFrame) -> pd.Series[bool]:
        return rows[column] < 0

    return Fault(f"{column} below 0", (column,), where)


def _perfect_but_apart(rows: pd.DataFrame) -> pd.Series[bool]:
    """Equal masks have equal surfaces; the reverse does not hold, as holes can be filled."""
    apart = (rows[list(DISTANCES)] > 0).any(axis=1)
    return (rows["dice"] == 1) & apart


def _too_good(rows: pd.DataFrame) -> pd.Series[bool]:
    """2 |P and R| / (|P| + |R|) with |P and R| at most the smaller of the two."""
    sizes = rows[list(SIZES)].astype(np.float64)
    smaller, total = sizes.min(axis=1), sizes.sum(axis=1)
    possible = (smaller > 0) & rows["dice"].between(0, 1)
    larger: pd.Series[bool] = rows["dice"] * total > 2 * smaller * (1 + 1e-9)
    return possible & larger


def _missing(rows: pd.DataFrame) -> pd.Series[bool]:
    in_mm = rows["asd_mm"].notna() & rows[list(_IN_MM)].isna().any(axis=1)
    scored = rows["flag"] != NOT_APPLICABLE
    lacking: pd.Series[bool] = in_mm | rows["asd_medpy_voxel"].isna()
    return scored & lacking


def _unknown_flag(rows: pd.DataFrame) -> pd.Series[bool]:
    return ~rows["flag"].isin(["", NOT_APPLICABLE, *_EMPTY])


def _no_flag(rows: pd.DataFrame) -> pd.Series[bool]:
    return (rows["flag"] == "") & (rows[list(SIZES)] == 0).any(axis=1)


def _empty(flag: str) -> Fault:
    filled, empty = _EMPTY[flag]

    def where(rows: pd.DataFrame) -> pd.Series[bool]:
        wrong = (rows[filled] <= 0) | (rows[empty] != 0) | (rows["dice"] != 0)
        return (rows["flag"] == flag) & wrong

    return Fault(f"the flag '{flag}' and numbers that deny it", ("dice", *SIZES), where)


def _applicable(rows: pd.DataFrame) -> pd.Series[bool]:
    numbers = rows[[*SHARES, *DISTANCES]].notna().any(axis=1)
    sizes = (rows[list(SIZES)] != 0).any(axis=1)
    return (rows["flag"] == NOT_APPLICABLE) & (numbers | sizes)


def _impossible_setting(rows: pd.DataFrame) -> pd.Series[bool]:
    fold = (rows["fold"] < 0) | (rows["fold"] >= rows["folds"])
    share = (rows["fraction"] <= 0) | (rows["fraction"] > 1)
    labelled = rows["labelled_patients"]
    return fold | share | (labelled < 1) | (labelled > rows["train_patients"])


COLUMNS: Sequence[str] = (
    "run", "case", "structure", "flag", "fold", "folds", "fraction", "labelled_patients",
    "train_patients", *SHARES, *DISTANCES, *SIZES,
)  # fmt: skip
"""The columns of the rows that are looked at here."""
