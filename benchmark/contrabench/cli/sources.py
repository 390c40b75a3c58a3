"""What a report is made of, as its user names it: a folder, an archive, a study, a protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from contrabench.cli.common import console
from contrabench.contracts.report import plain
from contrabench.errors import RequestError
from contrabench.text import unique_beginning

if TYPE_CHECKING:
    import pandas as pd

    from contrabench.store.results import Results


def results_in(path: Path) -> Results:
    """Reads a store, an archive of `bench submit`, or a folder of archives.

    What was left out is told on the error stream. RequestError if there is no finished run, or an
    archive is not sound.
    """
    from contrabench.exchange.reading import results_at
    from contrabench.progress import ConsoleReporter

    if not path.exists():
        raise RequestError(
            f"there is no folder or file {path}; make results with `bench run`, or name another "
            "place with --store"
        )
    reporter: Any = ConsoleReporter(console(stderr=True))
    results = results_at(path, reporter)
    for problem in results.problems:
        typer.echo(plain(f"note: {problem}"), err=True)
    if results.rows.empty:
        advice = (
            "the notes above tell what was left out and why"
            if results.problems
            else "make one with `bench run`, or name another folder with --store"
        )
        raise RequestError(
            f"{path} holds no finished run that can be used, so there is nothing to report; "
            f"{advice}"
        )
    return results


def both_sides(names: tuple[str, str], store: Path) -> tuple[Results, Results]:
    """Reads the two sides of a comparison, A and B.

    Each name is a path, as for `results_in`; or the id of a study in the store, or the hash of a
    protocol there, or the beginning of either. RequestError if it is none of these, or more than
    one.
    """
    found = {}
    # A name that is mistyped is told before archives are unpacked.
    for name in sorted(dict.fromkeys(names), key=is_path):
        found[name] = _side(name, store)
    return found[names[0]], found[names[1]]


def is_path(name: str) -> bool:
    """Whether a side of a comparison is a folder or a file, and not a part of the store."""
    return Path(name).exists()


def wanted(
    results: Results, datasets: Sequence[str], labels: Sequence[str], holder: str = ""
) -> Results:
    """The rows of the wanted datasets; label budgets are only looked for among these.

    Those that are not asked for may still serve as references. `holder` is whose results they are,
    for the message, e.g. "A (old.zip)". RequestError if no row has a value that was asked for.
    """
    rows = results.rows
    _look_for("dataset", datasets, sorted(map(str, rows["dataset"].unique())), "", holder)
    if datasets:
        rows = rows[rows["dataset"].isin(datasets)]
    _look_for("labels", labels, _budgets(rows), " and ".join(datasets), holder)
    return replace(results, rows=rows)


def _look_for(
    option: str, values: Sequence[str], present: Sequence[str], dataset: str, holder: str
) -> None:
    where = f"{f' on {dataset}' if dataset else ''}{f' of {holder}' if holder else ''}"
    for value in values:
        if value not in present:
            meant = _meant(value, present)
            hint = f"did you mean {meant}? There are" if meant else "there are"
            raise RequestError(
                f"no finished run{where} has --{option} {value}; {hint}: {', '.join(present)}"
            )


def _meant(value: str, present: Sequence[str]) -> str | None:
    """The budget that a bare number, `10` or `0.1`, is one of."""
    try:
        number = float(value)
    except ValueError:
        return None
    readings = (f"{number:g}%", f"{100 * number:g}%")
    return next((known for known in readings if known in present), None)


def _budgets(rows: pd.DataFrame) -> list[str]:
    """The label budgets, few labels first."""
    known = rows[["labels", "fraction"]].drop_duplicates().astype({"labels": str})
    return list(known.sort_values(["fraction", "labels"])["labels"].unique())


def _side(name: str, store: Path) -> Results:
    """Reads one side of a comparison."""
    if is_path(name):
        return results_in(Path(name))
    try:
        results = results_in(store)
    except RequestError as error:
        raise RequestError(
            f"'{name}' is no path, and cannot be looked for among studies and protocols: {error}"
        ) from error
    return _part(name, store, results)


def _part(name: str, store: Path, results: Results) -> Results:
    """The rows of a study, or of a protocol, by the beginning of its id."""
    from contrabench.study.status import read_studies

    studies = {
        item.study: {stage.key for stage in item.stages if stage.kind == "runs"}
        for item in read_studies(store)
    }
    protocols = sorted(map(str, results.rows["protocol"].unique()))
    what = f"study or protocol in {store}"
    found = unique_beginning(name, (*studies, *protocols), what, "There is no such path either")
    rows = results.rows
    rows = rows[rows["run"].isin(studies[found]) if found in studies else rows["protocol"] == found]
    if rows.empty:
        raise RequestError(f"the study {found} has no finished run yet; see `bench status`")
    return replace(results, rows=rows)
