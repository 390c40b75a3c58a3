"""What is missing from the tables: runs, cases, references; and what must not share one."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from contrabench.doctor.findings import Check, Finding, Severity
from contrabench.references import FULL_SUPERVISION, LONGER, REFERENCE
from contrabench.store.rows import SCHEMA_VERSION
from contrabench.text import counted, some

if TYPE_CHECKING:
    import pandas as pd

TABLE = ["dataset", "budget", "recipe", "protocol"]
"""What the rows of one table have in common, beside the label budget."""
ENTRY = ["variant", "deviations"]
CELL = ["fold", "draw", "seed"]
REFERENCES = ((REFERENCE, ""), (LONGER, ""))
"""Variant and deviations of the references that have a row of their own."""
COLUMNS: Sequence[str] = (
    *TABLE, *ENTRY, *CELL, "run", "method", "labels", "fraction", "case", "structure",
    "folds", "metric_contract", "schema_version",
)  # fmt: skip
"""The columns of the rows that are looked at here."""


def check_cells(rows: pd.DataFrame) -> Check:
    """Finds runs that a variant lacks and others of its table have.

    A label budget expects every variant of the protocol with every fold, draw and seed that
    any variant has there. With all labels only the variants that have a run at all are
    expected, with every fold and seed of the protocol.

    Args:
        rows: as `contrabench.store.rows.read_rows` returns them.
    """
    runs = rows.drop_duplicates("run")
    findings = []
    for names, part in runs.groupby(TABLE, observed=True):
        everyone = _keys(part, ENTRY)
        for labels, at_budget in part.groupby("labels", observed=True):
            wanted = _keys(at_budget, CELL)
            full = bool((at_budget["fraction"] == 1).all())
            if full:
                draw = at_budget["draw"].min()  # with all labels there is nothing to draw
                wanted |= {(fold, draw, seed) for fold, _, seed in _keys(part, CELL)}
            for entry in sorted(_keys(at_budget, ENTRY) if full else everyone):
                mine = at_budget[
                    (at_budget["variant"] == entry[0]) & (at_budget["deviations"] == entry[1])
                ]
                if mine.empty and entry in REFERENCES:
                    continue  # `check_references` tells it
                if lacking := sorted(wanted - _keys(mine, CELL)):
                    where = f"{_words(names)}, {labels}"
                    findings.append(_lacking(_entry_words(*entry), where, lacking, len(wanted)))
    return Check("missing runs", counted(len(runs), "run"), tuple(findings))


def _lacking(entry: str, where: str, cells: Sequence[tuple[Any, ...]], wanted: int) -> Finding:
    names = (f"fold {fold} draw {draw} seed {seed}" for fold, draw, seed in cells)
    return Finding(
        Severity.warning,
        f"{entry} ({where}) has {wanted - len(cells)} of the {wanted} runs that others have; it "
        f"lacks {some(names)}",
        "its means rest on other patients, draws or seeds than those it is compared with",
        "run the study again; it makes what is missing",
    )


def check_cases(rows: pd.DataFrame) -> Check:
    """Finds runs whose cases or structures are not those of the other runs of their fold.

    Args:
        rows: as `contrabench.store.rows.read_rows` returns them.
    """
    scored = rows.drop_duplicates(["run", "case", "structure"])
    findings = []
    for _, part in scored.groupby([*TABLE, "fold"], observed=True):
        runs = sorted(part["run"].unique())
        pairs = part.groupby(["case", "structure"], observed=True)["run"]
        odd: dict[tuple[str, str], list[str]] = defaultdict(list)
        sizes = pairs.size()
        for case, structure in sizes.index[sizes < len(runs)]:
            having = set(pairs.get_group((case, structure)))
            lacking = [run for run in runs if run not in having]
            few, verb = (lacking, "lacks") if len(lacking) <= len(having) else (having, "alone has")
            for run in sorted(few):
                odd[run, verb].append(f"{case}, {structure}")
        findings += [_odd(run, verb, names) for (run, verb), names in odd.items()]
    return Check("cases of the runs", counted(rows["run"].nunique(), "run"), tuple(findings))


def _odd(run: str, verb: str, names: Sequence[str]) -> Finding:
    return Finding(
        Severity.error,
        f"run {run} {verb} {counted(len(names), 'row')} of its fold: {some(names)}",
        "it was scored on other cases than the runs it is compared with",
        f"delete the folder runs/{run}; run the study again",
    )


def check_contracts(rows: pd.DataFrame) -> Check:
    """Finds rows that share a protocol and were scored by different metric contracts.

    Args:
        rows: as `contrabench.store.rows.read_rows` returns them.
    """
    findings = []
    for names, part in rows.groupby(TABLE, observed=True):
        contracts = sorted(part["metric_contract"].unique())
        if len(contracts) > 1:
            counts = part.groupby("metric_contract")["run"].nunique()
            shares = ", ".join(f"{counted(counts[one], 'run')} by {one}" for one in contracts)
            few = part.loc[part["metric_contract"] == counts.idxmin(), "run"].unique()
            finding = Finding(
                Severity.error,
                f"{_words(names)}: two metric contracts under one protocol ({shares})",
                "their numbers mean different things; an honest protocol names its contract",
                f"find where the runs come from: {some(sorted(few))}; delete those of one side",
            )
            findings.append(finding)
    seen = counted(rows.drop_duplicates(TABLE).shape[0], "protocol")
    return Check("metric contracts", seen, tuple(findings))


def check_schema(rows: pd.DataFrame) -> Check:
    """Finds rows that an earlier release wrote, with a schema of another version.

    Args:
        rows: as `contrabench.store.rows.read_rows` returns them.
    """
    others = rows[rows["schema_version"] != SCHEMA_VERSION]
    findings = []
    for version, part in others.groupby("schema_version"):
        runs = sorted(part["run"].unique())
        finding = Finding(
            Severity.warning,
            f"{counted(len(runs), 'run')} with rows of schema {version} beside {SCHEMA_VERSION}: "
            f"{some(runs)}",
            "an earlier release wrote them; a column may have meant something else",
            "delete these runs and run the study again, if they belong to one",
        )
        findings.append(finding)
    return Check("schema of the rows", f"version {SCHEMA_VERSION}", tuple(findings))


def check_references(rows: pd.DataFrame) -> Check:
    """Finds tables without the references that rule 10 of the protocol demands.

    Args:
        rows: as `contrabench.store.rows.read_rows` returns them.
    """
    findings = []
    tables = 0
    for names, part in rows.drop_duplicates("run").groupby(TABLE, observed=True):
        plain = part[part["deviations"] == ""]
        full = plain[plain["fraction"] == 1]
        budgets = part.drop_duplicates("labels").sort_values("fraction")
        tables += len(budgets)
        some_labels = bool((part["fraction"] < 1).any())
        if some_labels and REFERENCE not in set(full["variant"]):
            findings.append(_reference(FULL_SUPERVISION, REFERENCE, part, names, ["100%"]))
        lacking: dict[str, list[str]] = defaultdict(list)
        for labels, fraction in zip(budgets["labels"], budgets["fraction"], strict=True):
            here = set(plain.loc[plain["labels"] == labels, "variant"])
            if fraction == 1 and some_labels and here <= {REFERENCE}:
                continue  # full supervision, a row of the other tables
            for name in (REFERENCE, LONGER):
                if name not in here:
                    lacking[name].append(labels)
        findings += [
            _reference(name, name, part, names, labels) for name, labels in lacking.items()
        ]
    return Check("references", counted(tables, "table"), tuple(findings))


def _reference(
    what: str,
    method: str,
    runs: pd.DataFrame,
    table: tuple[Hashable, ...],
    labels: Sequence[str],
) -> Finding:
    dataset, budget, recipe, _ = map(str, table)
    words = ["bench", "run", "--method", method, "--labels", labels[0]]
    words += ["--dataset", dataset, "--budget", budget]
    words += [] if recipe == "common" else ["--recipe", recipe]
    words += ["--folds", str(runs["folds"].iloc[0]), "--fold"]
    words += [str(runs["fold"].iloc[0]) if runs["fold"].nunique() == 1 else "all"]
    where = "" if what == FULL_SUPERVISION else f" at {', '.join(labels)}"
    return Finding(
        Severity.warning,
        f"{_words(table)}: {what} is missing{where}",
        "without it a table does not show what pre-training adds (rule 10 of the protocol)",
        f"{shlex.join(words)}, with the other settings of this protocol",
    )


def _keys(rows: pd.DataFrame, columns: Sequence[str]) -> set[tuple[Any, ...]]:
    return set(zip(*(rows[column] for column in columns), strict=True))


def _words(table: tuple[Hashable, ...]) -> str:
    dataset, budget, recipe, protocol = map(str, table)
    extra = "" if recipe == "common" else f", {recipe} recipe"
    return f"{dataset}, {budget}{extra}, protocol {protocol}"


def _entry_words(variant: str, deviations: str) -> str:
    return f"{variant} ({deviations})" if deviations else variant
