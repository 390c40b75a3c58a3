"""What a store holds, in a few numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from contrabench.files import size_of

if TYPE_CHECKING:
    import pandas as pd

GROUP = ["dataset", "budget", "recipe", "protocol"]
"""What the rows of one line have in common."""
COLUMNS = [*GROUP, "run", "variant", "labels", "fraction", "patient"]
"""The columns of the rows that `contents` needs."""


def contents(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """One line per dataset, budget, recipe and protocol.

    Args:
        rows: columns `COLUMNS`, as `contrabench.store.rows.read_rows` returns them.

    Returns:
        For each the names above, the number of runs, of method variants and of patients
        tested, and the label budgets from the smallest to the largest.
    """
    lines = []
    for names, part in rows.groupby(GROUP, observed=True):
        budgets = part.drop_duplicates(["fraction", "labels"]).sort_values("fraction")
        lines.append(
            {
                **dict(zip(GROUP, map(str, names), strict=True)),
                "runs": int(part["run"].nunique()),
                "methods": int(part["variant"].nunique()),
                "patients": int(part["patient"].nunique()),
                "labels": [str(label) for label in budgets["labels"]],
            }
        )
    return lines


def disk_use(store: Path) -> dict[str, int]:
    """Bytes of all files below each folder of a store; stages by their kind."""
    found = {}
    for folder in sorted(item for item in store.iterdir() if item.is_dir()):
        inner = sorted(item for item in folder.iterdir() if item.is_dir())
        for part in inner if folder.name == "stages" else [folder]:
            found[part.relative_to(store).as_posix()] = size_of(part)
    return found
