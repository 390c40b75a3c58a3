"""What `bench run` prints at its end: Dice and ASD by structure, and what they rest on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from contrabench.progress import clock
from contrabench.text import counted

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from contrabench.stages.run import Run
    from contrabench.study.session import Session


def show_results(
    screen: Console, session: Session, folders: list[Path], records: list[dict[str, Any]]
) -> None:
    """Prints the table of one run, or of the folds of one cross-validation together."""
    import pandas as pd

    from contrabench.store.rows import ROWS_FILE

    run = session.run_of(session.graph.runs[0])
    rows = pd.concat([pd.read_parquet(folder / ROWS_FILE) for folder in folders])
    screen.print()
    screen.print(_table(run, rows))
    shown = "" if str(session.store) == "contrabench-runs" else f" --store {session.store}"
    for line in (
        *_remarks(run, rows, records),
        "Files:",
        *(f"  {folder}" for folder in folders),
        *_missing(rows, session.store),
        f"Compare what is in the store: bench report{shown}",
    ):
        screen.print(line, markup=False, highlight=False, soft_wrap=True)


def _table(run: Run, rows: pd.DataFrame) -> Table:
    """Dice and ASD per structure, and their macro means."""
    from contrabench.statistics.aggregate import macro_mean, structure_means

    first = rows.iloc[0]
    known = run.dataset.info.spacing_known
    distance = "asd_mm" if known else "asd_voxel"
    table = Table(
        title=f"{first.variant} on {first.dataset}, {first.labels} of the labels",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("Structure")
    table.add_column("Dice", justify="right")
    table.add_column("ASD, mm" if known else "ASD, voxels", justify="right")
    for structure, means in structure_means(rows, ["dice", distance]).iterrows():
        table.add_row(str(structure), _number(means["dice"], 3), _number(means[distance], 2))
    table.add_section()
    macro = [_number(macro_mean(rows, metric), n) for metric, n in (("dice", 3), (distance, 2))]
    table.add_row("mean", *macro, style="bold")
    return table


def _remarks(run: Run, rows: pd.DataFrame, records: list[dict[str, Any]]) -> list[str]:
    """What the numbers rest on, in words."""
    first, info, record = rows.iloc[0], run.method.info, records[0]
    deviations = ", ".join(run.spec.deviations.labels())
    empty = int((rows.flag == "prediction empty").sum())
    lines = [
        f"Labelled patients: {first.labelled_patients} of {len(record['patients']['train'])} "
        f"in training; tested on {counted(rows.patient.nunique(), 'unseen patient')}, "
        f"{counted(rows.case.nunique(), 'volume')}.",
        f"Fidelity: {info.fidelity} ({info.paper}).",
        f"Deviations: {deviations or 'none'}.",
    ]
    if info.inferred:
        count = counted(len(info.inferred), "detail")
        lines.append(f"Inferred: {count}, see bench methods show {first.method}.")
    if empty:
        lines.append(
            f"Empty predictions: {empty} of {len(rows)}; Dice 0 and the image's diagonal as ASD."
        )
    if outside := record["outside_field_of_view"]:
        worst = max(outside.values())
        lines.append(
            f"Outside the field of view: up to {worst:.2%} of a reference, in {len(outside)} cases."
        )
    cost = record["cost"]
    seconds = [name for name in cost if name.endswith("_seconds")]
    total = sum(each["cost"][name] for each in records for name in seconds)
    lines.append(
        f"Cost: {clock(total)}, {cost['peak_memory_mb']:.0f} MiB, "
        f"{cost['parameters'] / 1e6:.2f} M parameters; audit: "
        f"{len(record['audit'])} rules checked, none broken."
    )
    return lines


def _missing(rows: pd.DataFrame, store: Path) -> list[str]:
    """The references that must stand beside this row and are not in the store yet."""
    from contrabench.report.completeness import missing_references
    from contrabench.store.results import read_rows

    stored, _ = read_rows(store)
    same = stored[stored["protocol"] == rows["protocol"].iloc[0]]
    return [one.note for one in missing_references(same, rows["labels"].iloc[0])]


def _number(value: float, digits: int) -> str:
    """A number, or a dash where there is none."""
    return "-" if value != value else f"{value:.{digits}f}"  # noqa: PLR0124 - NaN
