"""Result rows that no scoring can have given, and tables that lack runs or references."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from contrabench.doctor.findings import Finding, Looking
from contrabench.doctor.store import fault_of
from contrabench.evaluation.metrics import EMPTY_DICE
from contrabench.protocol import NOT_APPLICABLE
from contrabench.references import (
    CONTROL_FAMILY,
    EVERY_LABEL,
    FULL_SUPERVISION,
    LONGER,
    REFERENCE,
)
from contrabench.store.stages import RUNS
from contrabench.text import counted, some

if TYPE_CHECKING:
    import pandas as pd

TABLE = ["dataset", "budget", "recipe", "protocol"]
"""What the rows of one table have in common, beside label budget and metric contract."""
CELL = ["fold", "draw", "seed"]
SHARES = ["dice", "surface_dice_2mm"]
DISTANCES = ["asd_mm", "hd95_mm", "asd_voxel", "asd_medpy_voxel", "asd_slice2d_mm"]
SIZES = ["reference_voxels", "prediction_voxels"]
COLUMNS = [
    *TABLE, *CELL, *SHARES, *DISTANCES, *SIZES, "run", "variant", "deviations", "rates",
    "family", "method_version", "labels", "fraction", "case", "structure", "flag", "folds",
    "labelled_patients", "train_patients", "metric_contract", "schema_version",
]  # fmt: skip
"""The columns of the rows that are looked at here."""


def check_readable(store: Path, problems: Sequence[str], rows: pd.DataFrame) -> Looking:
    """Tells which runs are left out of every table because their rows cannot be read.

    What is wrong with the files of a run is told elsewhere. `problems` has a line for each such
    run, as `contrabench.store.results.read_rows` returns them; `rows` are of the others.
    """
    reasons: dict[str, list[str]] = defaultdict(list)
    for problem in problems:
        run, _, reason = problem.removeprefix("run ").partition(" is left out: ")
        if not any(fault_of(RUNS, store / RUNS / run)):
            reasons[reason].append(run)
    for reason, runs in reasons.items():
        yield Finding(
            "error",
            f"{counted(len(runs), 'run')} left out, {some(runs)}: {reason}",
            "no table holds what cannot be read",
            "if nothing else is said: delete the folders in runs/ and run the study again",
        )
    return counted(rows["run"].nunique(), "run")


def check_values(rows: pd.DataFrame) -> Looking:
    """Looks for values that cannot be: one finding for each fault of each run."""
    for words, columns, mask in impossible(rows):
        for run, part in rows[mask].groupby("run", observed=True):
            first = part.iloc[0]
            shown = [f"{column} {first[column]}" for column in columns if first[column] != ""]
            yield Finding(
                "error",
                f"run {run}: {counted(len(part), 'row')} with {words}; the first is "
                f"{first['case']}, {first['structure']}: {', '.join(shown)}",
                "the file was changed by hand, or scoring has a fault; every table with this run "
                "is wrong",
                _delete(run),
            )
    return counted(len(rows), "row")


def _delete(run: Hashable) -> str:
    return f"delete the folder runs/{run}; run the study again"


def impossible(rows: pd.DataFrame) -> Iterator[tuple[str, list[str], pd.Series[bool]]]:
    """Everything that no row can say; a row that is wrong in one way has one of them.

    Yields what it is, after "rows with"; the columns that show it; and the rows that say it, shape
    (rows,).
    """
    twice = rows.duplicated(["run", "case", "structure"])
    yield "a structure of a case that has a row already", ["dice"], twice
    for column in SHARES:
        wrong = rows[column].notna() & ~rows[column].between(0, 1)
        yield f"{column} outside 0 to 1", [column], wrong
    for column in DISTANCES:
        yield f"{column} below 0 or infinite", [column], (rows[column] < 0) | np.isinf(rows[column])
    for column in SIZES:
        yield f"{column} below 0", [column], rows[column] < 0
    dice, flag, sizes = rows["dice"], rows["flag"], rows[SIZES].astype(np.float64)
    # Equal masks have equal surfaces; the reverse does not hold, as holes can be filled.
    apart = (rows[DISTANCES] > 0).any(axis=1)
    yield "a Dice of 1 and a distance above 0", ["dice", *DISTANCES[:3]], (dice == 1) & apart
    # 2 |P and R| / (|P| + |R|) with |P and R| at most the smaller of the two.
    smaller, total = sizes.min(axis=1), sizes.sum(axis=1)
    larger = dice.between(0, 1) & (dice * total > 2 * smaller * (1 + 1e-9))
    yield "a Dice that their sizes do not allow", ["dice", *SIZES], (smaller > 0) & larger
    in_mm = rows[["hd95_mm", "surface_dice_2mm", "asd_slice2d_mm"]]
    lacking = (rows["asd_mm"].notna() & in_mm.isna().any(axis=1)) | rows["asd_medpy_voxel"].isna()
    scored = flag != NOT_APPLICABLE
    yield "a score missing beside others", ["dice", *DISTANCES], scored & lacking
    empty = {"prediction empty": SIZES, "reference empty": SIZES[::-1]}
    yield "an unknown flag", ["flag"], ~flag.isin(["", NOT_APPLICABLE, *empty])
    unsaid = (flag == "") & (sizes == 0).any(axis=1)
    yield "no flag though a structure is empty", ["flag", *SIZES], unsaid
    for word, (filled, none) in empty.items():
        denied = (rows[filled] <= 0) | (rows[none] != 0) | (dice != EMPTY_DICE)
        words = f"the flag '{word}' and numbers that deny it"
        yield words, ["dice", *SIZES], (flag == word) & denied
    numbers = rows[[*SHARES, *DISTANCES]].notna().any(axis=1) | (sizes != 0).any(axis=1)
    yield f"the flag '{NOT_APPLICABLE}' and numbers", ["dice", *SIZES], ~scored & numbers
    labelled, trained = rows["labelled_patients"], rows["train_patients"]
    fold = ~rows["fold"].between(0, rows["folds"] - 1)
    share = (rows["fraction"] <= 0) | (rows["fraction"] > 1)
    yield (
        "a fold or a share of labels that cannot be",
        ["fold", "folds", "fraction", "labelled_patients", "train_patients"],
        fold | share | ~labelled.between(1, trained),
    )


def check_contracts(rows: pd.DataFrame) -> Looking:
    """Finds rows that share a protocol and were scored by different metric contracts."""
    runs = rows.drop_duplicates(["run", "metric_contract"])
    for names, part in runs.groupby(TABLE, observed=True):
        counts = part["metric_contract"].value_counts().sort_index()
        if len(counts) > 1:
            shares = ", ".join(f"{counted(count, 'run')} by {one}" for one, count in counts.items())
            few = part.loc[part["metric_contract"] == counts.idxmin(), "run"]
            yield Finding(
                "error",
                f"{_words(names)}: two metric contracts under one protocol ({shares})",
                "their numbers mean different things; an honest protocol names its contract",
                f"find where the runs come from: {some(sorted(few))}; delete those of one side",
            )
    return counted(rows.drop_duplicates(TABLE).shape[0], "protocol")


def check_cases(rows: pd.DataFrame) -> Looking:
    """Finds runs that lack cases or structures which the other runs of their fold have."""
    from contrabench.report.completeness import incomplete_runs

    for names, part in rows.groupby(TABLE, observed=True):
        for gap in incomplete_runs(part):
            what, _, means = gap.note.rpartition(". ")
            yield Finding("error", f"{_words(names)}: {what}", means)
    return counted(rows["run"].nunique(), "run")


def check_cells(rows: pd.DataFrame) -> Looking:
    """Finds runs that a variant lacks and others of its table have.

    A label budget expects every variant of the protocol with every fold, draw and seed that
    any variant has there. With all labels only the variants that have a run at all are
    expected, with every fold and seed of the protocol.
    """
    runs = rows.drop_duplicates("run")
    # Controls are run in the first draw and seed alone.
    runs = runs[runs["family"] != CONTROL_FAMILY]
    entry = ["variant", "deviations", "rates"]
    for names, part in runs.groupby(TABLE, observed=True):
        everyone = _keys(part, entry)
        for labels, at_budget in part.groupby("labels", observed=True):
            wanted = _keys(at_budget, CELL)
            full = str(labels) == EVERY_LABEL
            if full:
                draw = at_budget["draw"].min()  # with all labels there is nothing to draw
                wanted |= {(fold, draw, seed) for fold, _, seed in _keys(part, CELL)}
            entries = at_budget.groupby(entry, observed=True)
            held = {one: _keys(mine, CELL) for one, mine in entries}
            # A reference that has no run at all is told of by `check_references`.
            expected = held.keys() if full else everyone - {(REFERENCE, "", ""), (LONGER, "", "")}
            for variant, *more in sorted(expected | held.keys()):
                lacking = sorted(wanted - held.get((variant, *more), set()))
                told = ", ".join(str(word) for word in more if word)
                cells = (f"fold {fold} draw {draw} seed {seed}" for fold, draw, seed in lacking)
                if lacking:
                    yield Finding(
                        "warning",
                        f"{variant}{f' ({told})' if told else ''} ({_words(names)}, "
                        f"{labels}) has {len(wanted) - len(lacking)} of the {len(wanted)} runs "
                        f"that others have; it lacks {some(cells)}",
                        "its means rest on other patients, draws or seeds than those it is "
                        "compared with",
                        "run the study again; it makes what is missing",
                    )
    return counted(len(runs), "run")


def check_references(rows: pd.DataFrame) -> Looking:
    """Finds tables without the references that rule 10 of the protocol demands."""
    from contrabench.report.completeness import missing_references
    from contrabench.store.rows import labels_of

    tables = 0
    for names, part in rows.drop_duplicates("run").groupby(TABLE, observed=True):
        lacking: dict[str, list[str]] = defaultdict(list)
        commands: dict[str, str] = {}
        budgets = labels_of(part)
        for labels in budgets:
            here = part[part["labels"] == labels]
            plain = set(here.loc[here["deviations"] == "", "variant"])
            if len(budgets) > 1 and labels == EVERY_LABEL and plain <= {REFERENCE}:
                continue  # full supervision, a row of the other tables
            tables += 1
            for reference in missing_references(part, labels):
                lacking[reference.name].append(labels)
                commands.setdefault(reference.name, reference.advice)
        for name, budgets_without in lacking.items():
            where = "" if name == FULL_SUPERVISION else f" at {', '.join(budgets_without)}"
            yield Finding(
                "warning",
                f"{_words(names)}: {name} is missing{where}",
                "without it a table does not show what pre-training adds (rule 10 of the protocol)",
                commands[name],
            )
    return counted(tables, "table")


CHECKS: dict[str, Callable[[pd.DataFrame], Looking]] = {
    "impossible values": check_values,
    "metric contracts": check_contracts,
    "cases of the runs": check_cases,
    "missing runs": check_cells,
    "references": check_references,
}
"""What rows are looked at for; each takes them as `read_rows` returns them."""


def _keys(rows: pd.DataFrame, columns: Sequence[str]) -> set[tuple[Any, ...]]:
    return set(zip(*(rows[column] for column in columns), strict=True))


def _words(table: tuple[Hashable, ...]) -> str:
    dataset, budget, recipe, protocol = map(str, table)
    extra = "" if recipe == "common" else f", {recipe} recipe"
    return f"{dataset}, {budget}{extra}, protocol {protocol}"
