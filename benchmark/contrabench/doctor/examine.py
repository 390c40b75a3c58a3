"""All checks in their order, each told as soon as it is done.

Modules are imported where they are used: a package that does not import, torch above all,
is one of the things to find, and must not keep the rest from being looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from contrabench.doctor.findings import Check, Finding, Severity, attempt, broken_off
from contrabench.progress import Reporter

if TYPE_CHECKING:
    from contrabench.contracts.dataset import Dataset
    from contrabench.doctor.folders import StageFolder


def examine(
    store: Path, dataset: Dataset | None, deep: bool, reporter: Reporter
) -> Iterator[tuple[str, Check]]:
    """Looks for faults; nothing is mended or removed.

    Args:
        store: the store folder, which need not exist.
        dataset: whose files are read, if any.
        deep: read large files in full.
        reporter: where the progress of long checks is told.

    Yields:
        The area (environment, data or store) and a check, in a fixed order.
    """
    for area, checks in (
        ("environment", _environment(store)),
        ("data", _data(store, dataset, reporter)),
        ("store", _store(store, deep, reporter)),
    ):
        for check in _guarded(area, checks):
            yield area, check


def _guarded(title: str, checks: Iterator[Check]) -> Iterator[Check]:
    """The checks, and a finding in place of those that cannot even be begun."""
    try:
        yield from checks
    except Exception as error:
        yield broken_off(title, error)


def _environment(store: Path) -> Iterator[Check]:
    from contrabench.doctor import environment, machine

    yield attempt("versions", environment.check_versions)
    yield attempt("torchvision's operators", environment.check_operators)
    yield attempt("plug-ins", environment.check_plugins)
    yield attempt("device", machine.check_device)
    yield attempt("a training step", machine.check_training)
    yield attempt("disk", partial(machine.check_disk, store))
    yield attempt("memory", machine.check_memory)


def _data(store: Path, dataset: Dataset | None, reporter: Reporter) -> Iterator[Check]:
    from contrabench.doctor import data

    yield attempt("prepared volumes", partial(data.check_prepared, store, reporter))
    yield attempt("unfinished preparation", partial(data.check_unfinished, store))
    if dataset is not None:
        yield attempt("files of the dataset", partial(data.check_dataset, dataset, reporter))


def _store(store: Path, deep: bool, reporter: Reporter) -> Iterator[Check]:
    if not store.is_dir():
        finding = Finding(
            Severity.information,
            f"there is no store at {store} yet",
            "no run was made there",
            "name another with --store, if there is one",
        )
        yield Check("store", "none", (finding,))
        return
    from contrabench.doctor import folders

    found = folders.finished(store)
    files = attempt("files of the runs", partial(folders.check_runs, found, reporter))
    yield files
    yield attempt("files of the stages", partial(folders.check_stages, found, deep, reporter))
    yield from _guarded("stages", _leftovers(store, found))
    yield from _guarded("rows", _rows(store, files, reporter))


def _leftovers(store: Path, found: Sequence[StageFolder]) -> Iterator[Check]:
    from contrabench.doctor import leftovers

    yield attempt("stages of the runs", partial(leftovers.check_links, store, found))
    yield attempt("unfinished work", partial(leftovers.check_unfinished, store))
    yield attempt("failed stages", partial(leftovers.check_failed, store))
    yield attempt("studies", partial(leftovers.check_studies, store))


def _rows(store: Path, files: Check, reporter: Reporter) -> Iterator[Check]:
    from contrabench.doctor import cells, rows
    from contrabench.store.rows import read_rows

    columns = dict.fromkeys([*rows.COLUMNS, *cells.COLUMNS])
    frame, problems = read_rows(store, list(columns), reporter)
    yield rows.check_readable(problems, frame, files)
    for title, look in (
        ("impossible values", rows.check_values),
        ("repeated rows", rows.check_repeats),
        ("schema of the rows", cells.check_schema),
        ("metric contracts", cells.check_contracts),
        ("cases of the runs", cells.check_cases),
        ("missing runs", cells.check_cells),
        ("references", cells.check_references),
    ):
        yield attempt(title, partial(look, frame))
