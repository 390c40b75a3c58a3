"""What a study can see: its controls, its resolution, and the scores on the way there.

A report opens with it, before any verdict: where the oracle, which has seen every label, does not
stand above scratch, no pre-training could, and where noise does, a gain is not one of images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from contrabench.contracts.report import Column, Kind, Table, number_text
from contrabench.protocol import ALONG
from contrabench.references import CONTROLS, FULL_SUPERVISION, REFERENCE
from contrabench.report.board import NAMES, columns, make_table, names_of
from contrabench.report.entries import Entry, LabelBudget
from contrabench.report.judged import Judged
from contrabench.statistics.aggregate import patient_scores
from contrabench.store.rows import column_at

CONTROL_TABLE, ALONG_TABLE = "controls", "along fine-tuning"
ON_THE_WAY = ("method", "share", "mean")
_DIGIT = 0.01
_SEEN = 1.43
"""Standard errors that are found in four studies of five, 2.8, by the 1.96 of half an interval."""
_AGAINST = f"Dice vs {REFERENCE}"


def instrument(at: Judged) -> tuple[str, ...]:
    """What the controls of one label budget show, in sentences; the same for the same rows."""
    return (*_sight(at), *_alarms(at), *_lacking(at.budget))


def _lacking(budget: LabelBudget) -> Iterator[str]:
    """Which controls have no rows, so that a blind study looks like a clear one."""
    held = {one.entry.method for one in budget.controls}
    if lacking := [name for name in CONTROLS if name not in held]:
        yield (
            f"Without rows of the {'controls' if len(lacking) > 1 else 'control'} "
            f"{' and '.join(lacking)}, how much of a gain survives fine-tuning here is not known."
        )


def _sight(at: Judged) -> Iterator[str]:
    """Each control's difference, of what is possible, and what is the least that can be seen."""
    found, room = at.seen, at.room
    ordered = sorted(found, key=lambda one: (not one.control.sees_labels, -one.mean))
    words = [f"{one.control.label} {_signed(one.mean)}" for one in ordered]
    if words and not math.isnan(room):
        if ordered[0].control.sees_labels:
            words[0] += f" of {_signed(room)} possible"
        else:
            words.insert(0, f"{FULL_SUPERVISION} {_signed(room)}")
    rivals, ends = at.compared.family.values(), [(one.low, one.high) for one in found]
    ends += [(one.low, one.high) for one in rivals]
    # A control that equals scratch by its making has an interval of no width.
    halves = sorted((high - low) / 2 for low, high in ends if high > low)
    seen = ""
    if halves:
        least = math.ceil(_SEEN * halves[len(halves) // 2] / _DIGIT) * _DIGIT
        anew = all(one.is_anew for one in (rivals or found))
        seen = f"would see a difference of {least:.2f}"
        seen += "" if anew else " between these networks; how far others would differ is not known"
    if words:
        so = f": four studies of five {seen}" if seen else ""
        yield f"Can this study see? {', '.join(words)}{so}."
    elif seen:
        yield f"Four studies of five like this {seen}."


def _alarms(at: Judged) -> Iterator[str]:
    """What is wrong with the study itself."""
    if at.is_undertrained:
        yield (
            f"The ceiling is below the floor: {FULL_SUPERVISION} is no better than {REFERENCE}. "
            "The networks are undertrained; nothing in this table says anything about methods."
        )
    oracles = [one for one in at.seen if one.control.sees_labels and not math.isnan(one.low)]
    if oracles and all(one.low <= 0 for one in oracles):
        yield (
            f"{oracles[0].control.entry.name} has seen every label and is not shown to be above "
            f"{REFERENCE}: no pre-training can show anything here."
        )
    for one in at.seen:
        if one.is_anew and not one.control.sees_labels and (one.low > 0 or one.high < 0):
            what = (
                "gains of this size are not those of images"
                if one.low > 0
                else "what was learned from nothing is not unlearned, and a method may lose by that"
            )
            yield (
                f"{one.control.label} must equal {REFERENCE} and lies at {_signed(one.mean)} (95% "
                f"{_signed(one.low)} to {_signed(one.high)}): {what}."
            )


def _signed(value: float) -> str:
    return number_text("difference", value)


def control_table(at: Judged) -> Table | None:
    """Every control with its difference to scratch in the same runs, as a share of the room."""
    if not at.budget.controls:
        return None
    kinds: dict[Kind, list[str]] = {
        "text": ["Rates"], "score": ["Dice"], "difference": [_AGAINST, "95% low", "95% high"],
        "share": ["Share of the possible"],
    }  # fmt: skip
    rows, room = [], at.room
    seen = {id(one.control): one for one in at.seen}
    for one in at.budget.controls:
        cells: dict[str, Any] = {
            **names_of(one.entry),
            "Rates": one.rates or None,
            "Dice": one.entry.dice,
        }
        if (found := seen.get(id(one))) is not None:
            share = found.mean / room if room > 0 else math.nan
            cells |= {_AGAINST: found.mean, "95% low": found.low, "95% high": found.high}
            cells["Share of the possible"] = share
        rows.append(cells)
    notes = (
        f"Never ranked. The oracle has seen every training label, and should come near "
        f"{FULL_SUPERVISION}; what it lacks, fine-tuning has lost. All others must equal "
        f"{REFERENCE}. Differences are to scratch in the same folds, draws and seeds.",
    )
    return make_table(CONTROL_TABLE, (*NAMES, *columns("Controls", kinds)), rows, notes=notes)


def along(budget: LabelBudget) -> pd.DataFrame:
    """Mean Dice of each entry on the way: `method` (its place), `share` in percent, `mean`."""
    points = [
        (place, share, mean)
        for place, entry in enumerate(budget.entries)
        for share, mean in _on_the_way(entry).items()
    ]
    return pd.DataFrame(points, columns=list(ON_THE_WAY))


def along_table(budget: LabelBudget) -> Table | None:
    """Dice of methods and controls after shares of fine-tuning; None where none were scored."""
    entries = [
        *((entry, "") for entry in budget.entries),
        *((one.entry, one.rates) for one in budget.controls),
    ]
    rows = []
    for entry, rates in entries:
        scores = {f"{share}%": mean for share, mean in _on_the_way(entry).items()}
        if scores:
            rows.append({**names_of(entry), "Rates": rates or None, **scores})
    if not rows:
        return None
    shares = tuple(
        Column(f"{share}%", "score", "Dice after a share of the steps") for share in (*ALONG, 100)
    )
    level = Column("Rates", "text", "Dice after a share of the steps")
    shown = (*NAMES, *((level,) if budget.controls else ()), *shares)
    notes = (
        "On the test cases, and chosen by nobody. A pre-training that brings nothing in the end "
        "may still bring it sooner.",
    )
    return make_table(ALONG_TABLE, shown, rows, notes=notes)


def _on_the_way(entry: Entry) -> dict[int, float]:
    """Mean Dice by percent of fine-tuning, the end included; empty where it was not scored."""
    shares = {column_at(share): share for share in ALONG}
    known = [name for name in shares if entry.rows[name].notna().any()]
    if not known:
        return {}
    means = patient_scores(entry.rows, known).mean()
    return {**{shares[name]: float(means[name]) for name in known}, 100: entry.dice}
