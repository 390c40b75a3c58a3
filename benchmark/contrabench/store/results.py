"""What a report is made of: the rows of a store, and what is known of each run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from contrabench.store.row_reading import facts_frame, gather, rows_frame
from contrabench.store.schema import SCHEMA

if TYPE_CHECKING:
    import pandas as pd

    from contrabench.progress import Reporter


@dataclass(frozen=True)
class Results:
    """The finished runs of a store.

    Attributes:
        rows: as `contrabench.store.rows.read_rows` returns them.
        runs: one line per run, its key the index; columns of `contrabench.store.facts.FACTS`.
        problems: one line for each run that was left out.
    """

    rows: pd.DataFrame
    runs: pd.DataFrame
    problems: tuple[str, ...] = ()


def read_results(store: Path, reporter: Reporter | None = None) -> Results:
    """Reads the rows of every finished run of a store, and the facts of its record.

    Args:
        store: folder that holds `runs/`.
        reporter: where the progress of a first reading of many runs is told.
    """
    parts, problems = gather(store, reporter)
    return Results(rows_frame(parts, SCHEMA.names), facts_frame(parts), tuple(problems))
