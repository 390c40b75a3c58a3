"""What the doctor looks at, in order.

Modules are imported where they are used: a package that does not import, torch above all,
is one of the things to find, and must not keep the rest from being looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from contrabench.doctor.findings import Examined, Titled, broken_off, look
from contrabench.progress import Reporter

if TYPE_CHECKING:
    from contrabench.contracts.dataset import Dataset


def examine(
    store: Path, dataset: Dataset | None, deep: bool, reporter: Reporter
) -> Iterator[Examined]:
    """Looks for faults in environment, data and store, and tells each check as it is done.

    The store need not exist; the files of a dataset, if any, are read. `deep` reads weights in
    full.
    """
    yield from _area("environment", _environment(store))
    if dataset is not None:
        yield from _area("data", _data(dataset, reporter))
    yield from _area("store", _store(store, deep, reporter))


def _area(area: str, checks: Iterator[Titled]) -> Iterator[Examined]:
    """What the checks say, and a finding in place of those that cannot even be begun."""
    try:
        for title, check in checks:
            yield look(area, title, check)
    except Exception as error:
        yield Examined(area, area, "not finished", (broken_off(area, error),))


def _environment(store: Path) -> Iterator[Titled]:
    from contrabench.doctor import environment

    yield "versions", environment.check_versions
    yield "torchvision's operators", environment.check_operators
    yield "plug-ins", environment.check_plugins
    yield "device", environment.check_device
    yield "a training step", environment.check_training
    yield "disk", partial(environment.check_disk, store)
    yield "memory", environment.check_memory


def _data(dataset: Dataset, reporter: Reporter) -> Iterator[Titled]:
    from contrabench.doctor import data

    yield f"files of {dataset.info.title}", partial(data.check_dataset, dataset, reporter)


def _store(store: Path, deep: bool, reporter: Reporter) -> Iterator[Titled]:
    from contrabench.doctor import store as folders

    if not store.is_dir():
        yield "store", partial(folders.no_store, store)
        return
    yield "files of runs and stages", partial(folders.check_files, store, deep, reporter)
    yield "stages of the runs", partial(folders.check_links, store)
    yield "unfinished work", partial(folders.check_unfinished, store)
    yield "failed stages", partial(folders.check_failed, store)
    yield "studies", partial(folders.check_studies, store)
    from contrabench.doctor import rows
    from contrabench.store.results import read_rows

    frame, problems = read_rows(store, rows.COLUMNS, reporter)
    yield "readable rows", partial(rows.check_readable, store, problems, frame)
    for title, check in rows.CHECKS.items():
        yield title, partial(check, frame)
