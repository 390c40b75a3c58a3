"""What a report is made of, as its user names it: a folder, an archive, a study, a protocol."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from contrabench.cli.common import console
from contrabench.errors import RequestError
from contrabench.report import plain

if TYPE_CHECKING:
    from contrabench.store.results import Results


@contextmanager
def results_in(path: Path) -> Iterator[tuple[Path, Results]]:
    """Reads a store, an archive of `bench submit`, or a folder of archives.

    Yields:
        The folder of the store, which for archives lasts as long as this, and its results.
        What was left out is told on the error stream.

    Raises:
        RequestError: if there is no finished run, or an archive is not sound.
    """
    from contrabench.progress import ConsoleReporter
    from contrabench.store.opening import opened
    from contrabench.store.results import read_results

    reporter: Any = ConsoleReporter(console(stderr=True))
    with opened(path, reporter) as found:
        results = read_results(found.store, reporter)
        for problem in (*found.problems, *results.problems):
            typer.echo(plain(f"note: {problem}"), err=True)
        if results.rows.empty:
            raise RequestError(
                f"{path} holds no finished run, so there is nothing to report; "
                "make one with `bench run`, or name another folder with --store"
            )
        yield found.store, results


@contextmanager
def side(name: str, store: Path) -> Iterator[Results]:
    """Reads one side of a comparison.

    Args:
        name: a path, as for `results_in`; or the id of a study in the store, or the hash of
            a protocol there, or the beginning of either.
        store: where studies and protocols are looked for.

    Raises:
        RequestError: if it is none of these, or more than one.
    """
    path = Path(name)
    if path.exists():
        with results_in(path) as (_, results):
            yield results
        return
    with results_in(store) as (folder, results):
        yield _part(name, folder, results)


def _part(name: str, store: Path, results: Results) -> Results:
    """The rows of a study, or of a protocol, by the beginning of its id."""
    from contrabench.study.ledger import read_studies

    studies = {
        item.file.study: {stage.key for stage in item.stages if stage.kind == "runs"}
        for item in read_studies(store)
    }
    protocols = sorted(map(str, results.rows["protocol"].unique()))
    fitting = [known for known in (*studies, *protocols) if known.startswith(name)]
    if len(fitting) != 1:
        listing = ", ".join((*studies, *protocols))
        raise RequestError(
            f"'{name}' is no path, and {'not the only' if fitting else 'no'} study or protocol "
            f"in {store} that begins so; there are: {listing}"
        )
    (found,) = fitting
    rows = results.rows
    rows = rows[rows["run"].isin(studies[found]) if found in studies else rows["protocol"] == found]
    if rows.empty:
        raise RequestError(f"the study {found} has no finished run yet; see `bench status`")
    return replace(results, rows=rows)
