"""The table of two sides: one row per method, its numbers on each and what lies between."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from contrabench.contracts.report import NONE, Column, Table
from contrabench.report.board import NAMES, asd_heading, make_table
from contrabench.report.counterparts import SIDES
from contrabench.report.movement import Moved

_DICE, _ASD, _TESTS, _RUNS = (
    "Dice, A and B", "Distance and rank, A and B", "Test of B minus A", "What was run",
)  # fmt: skip
_COUNTED = ("Patients", "Runs")
_WHOSE = (*SIDES, "in common")


def side_table(methods: Sequence[Moved], scales: tuple[str, str]) -> Table:
    """One row per method of either side; `scales` is the column of the ASD on A and on B."""
    columns = (
        *NAMES,
        *(Column(f"Dice {side}", "score", _DICE) for side in SIDES),
        Column("B minus A", "difference", _DICE),
        Column("95% low", "difference", _DICE),
        Column("95% high", "difference", _DICE),
        Column("Adjusted p", "p", _DICE),
        Column("Retrained p", "p", _DICE),
        *(Column(name, "distance", _ASD) for name in _distances(scales)),
        *(Column(f"Rank {side}", "rank", _ASD) for side in SIDES),
        Column("p", "p", _TESTS),
        Column("Smallest p", "p", _TESTS),
        *(Column(f"Version {side}", "count", _RUNS) for side in SIDES),
        *(Column(f"{noun} {side}", "count", _RUNS) for noun, side in product(_COUNTED, _WHOSE)),
    )
    return make_table("side by side", columns, [_row(one, scales) for one in methods])


def _distances(scales: tuple[str, str]) -> list[str]:
    return [f"{asd_heading(scale)} {side}" for scale, side in zip(scales, SIDES, strict=True)]


def _row(one: Moved, scales: tuple[str, str]) -> dict[str, Any]:
    cells: dict[str, Any] = {"Method": one.name, "Deviations": one.deviations or NONE}
    for side, entry, scale, asd in zip(
        SIDES, (one.first, one.second), scales, _distances(scales), strict=True
    ):
        if entry is not None:
            cells |= {
                f"Dice {side}": entry.dice,
                asd: float(entry.scores[scale].mean()),
                f"Version {side}": int(entry.rows["method_version"].iloc[0]),
            }
    cells |= {f"Rank {side}": rank for side, rank in zip(SIDES, one.ranks, strict=True)}
    if one.movement is not None:
        found = one.movement.found
        cells |= {
            "B minus A": found.mean,
            "95% low": found.low,
            "95% high": found.high,
            "Adjusted p": one.movement.adjusted,
            "p": found.p,
            "Smallest p": found.smallest_p,
            "Retrained p": one.movement.retrained,
        }
    return cells | _counts(one)


def _counts(one: Moved) -> dict[str, int]:
    """Patients and runs of each side, and of both."""
    held = {
        side: {"Patients": {*map(str, entry.scores.index)}, "Runs": {*map(str, entry.cells["run"])}}
        for side, entry in zip(SIDES, (one.first, one.second), strict=True)
        if entry is not None
    }
    cells = {f"{noun} {side}": len(sets[noun]) for side, sets in held.items() for noun in _COUNTED}
    if one.entries is not None:
        ours, theirs = held.values()
        cells |= {f"{noun} in common": len(ours[noun] & theirs[noun]) for noun in _COUNTED}
    return cells
