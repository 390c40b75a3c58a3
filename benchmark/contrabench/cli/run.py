"""`bench run`: one method at one label budget, from volumes to a table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from contrabench.cli import options, output
from contrabench.cli.asked import RunArguments
from contrabench.cli.study_view import end_of, store_words
from contrabench.files import read_json
from contrabench.progress import clock
from contrabench.text import budget_words, counted, labels_words, some

if TYPE_CHECKING:
    import pandas as pd

    from contrabench.stages.run import Run
    from contrabench.stages.run_spec import RunSpec
    from contrabench.study.session import Session
    from contrabench.training.runtime import Runtime

_NAMED = 6


@options.command(
    "bench run --method mmgl --labels 10%",
    "bench run --method simclr --labels 20% -o temperature=0.5 --views all",
    "bench run --method mmgl --labels 10% --dataset mmwhs --data MMWHS --fold all",
    "bench run --method mmgl --labels 7 --dataset acdc --data ACDC --split ssl4mis",
)
@options.takes(RunArguments)
def run(asked: RunArguments, *, json: options.Json = False) -> None:
    """Pre-train a method, fine-tune on few labels, and score Dice and ASD on unseen patients."""
    runtime = asked.runtime()
    from contrabench.stages.prepare import listed
    from contrabench.store.runs import RUN_RECORD
    from contrabench.store.stages import RUNS, home_of
    from contrabench.study.executors.in_process import InProcessExecutor
    from contrabench.study.runs import runs_of

    reporter = output.reporter(stderr=json)
    runs, _ = runs_of(asked.spec(), runtime.device, runtime.precision)
    volumes = labels_words(listed(runs[0], *asked.roots()))
    for line in _head(runs[0], volumes, runtime, chosen=asked.budget is not None):
        reporter.line(line)
    session = asked.session(runtime, reporter)
    crew = InProcessExecutor(asked.crew(runtime.device, runtime.threads), reporter=reporter)
    board = session.survey(retry_failed=True)
    served = [stage.node.title for stage in board.those("cached") if stage.node.kind != RUNS]
    laid = session.run_of(session.graph.runs[0]).laid
    notes = laid.notes if laid else ()
    for line in (
        *notes,
        *_folds(session),
        *(f"  {title}: served from the store" for title in served),
    ):
        reporter.line(line)
    end_of(board, session.run(board, crew, command=options.USED.again("run")))
    folders = [home_of(session.store, stage.node.kind) / stage.key for stage in session.graph.runs]
    records = [read_json(folder / RUN_RECORD) for folder in folders]
    if json:
        output.write_json(records)
        return
    _show(reporter.console, session, folders, records, options.places(asked.settings(), asked.data))


def _head(spec: RunSpec, volumes: str, runtime: Runtime, chosen: bool) -> list[str]:
    """What is about to run, and what a published recipe takes from its paper."""
    from contrabench.stages.recipe import share_out

    why = "" if chosen else (" (no GPU found)" if runtime.device == "cpu" else " (GPU found)")
    budget, method = spec.budget, spec.open_method()
    lines = [
        f"{spec.variant()} on {spec.place()}{volumes}, budget {budget.name}{why}: "
        f"{budget.pixels} x {budget.pixels} pixels, width {budget.width}; {runtime.device}, "
        f"{runtime.threads} threads, {runtime.precision}"
    ]
    notes = [work.note for work in share_out(method, budget, spec.recipe) if work.note]
    if notes and (published := method.published) is not None:
        changed = ", ".join(f"{name}={value}" for name, value in published.options.items())
        lines.append("published recipe; backbone, views, images seen and fine-tuning stay common")
        lines += [f"  {note}" for note in notes]
        lines += [f"  options: {changed}"] if changed else []
        lines += [f"  left common: {item}" for item in published.unknown]
    return lines


def _folds(session: Session) -> list[str]:
    """Who is labelled and who is tested in each fold."""
    lines = []
    for stage in session.graph.runs:
        made = session.run_of(stage)
        split, manifest = made.split, made.manifest
        lines.append(
            f"fold {split.fold} of {split.folds}: {manifest.sentence()} "
            f"({some(manifest.patients, _NAMED)}); {counted(len(split.test), 'test patient')}"
        )
    return lines


def _show(
    screen: Console,
    session: Session,
    folders: list[Path],
    records: list[dict[str, Any]],
    place: Callable[[str], list[str]],
) -> None:
    """Prints the table of one run, or of the folds of one cross-validation together."""
    import pandas as pd

    from contrabench.report.completeness import missing_references
    from contrabench.store.results import read_rows
    from contrabench.store.runs import read_facts, read_run

    run = session.run_of(session.graph.runs[0])
    rows = pd.concat([read_run(folder)[0].to_pandas() for folder in folders])
    screen.print()
    screen.print(_table(run, rows))
    stored, _ = read_rows(session.store)
    stored = stored[stored["protocol"] == rows["protocol"].iloc[0]]
    facts = pd.DataFrame([read_facts(folder) for folder in folders]).set_index("run")
    lacking = missing_references(stored, rows["labels"].iloc[0], facts, place)
    screen.print(
        *_remarks(run, rows, records),
        "Files:",
        *(f"  {folder}" for folder in folders),
        *(one.note for one in lacking),
        f"Compare what is in the store: bench report{store_words(session.store)}",
        sep="\n",
        soft_wrap=True,
    )


def _table(run: Run, rows: pd.DataFrame) -> Table:
    """Dice and ASD per structure, and their macro means."""
    from contrabench.statistics.aggregate import macro_mean, structure_means

    first = rows.iloc[0]
    known = run.dataset.info.spacing_known
    distance = "asd_mm" if known else "asd_voxel"
    table = Table(
        title=f"{first.variant} on {first.dataset}, {budget_words([first.labels])}",
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
    first, info, record = rows.iloc[0], run.info, records[0]
    deviations = ", ".join(run.spec.deviations.labels(run.spec.budget))
    empty = int((rows.flag == "prediction empty").sum())
    lines = [
        f"Labelled patients: {first.labelled_patients} of {len(record['patients']['train'])} "
        f"in training; tested on {counted(rows.patient.nunique(), 'unseen patient')}, "
        f"{counted(rows.case.nunique(), 'volume')}.",
        f"Fidelity: {info.fidelity} ({info.paper}).",
        f"Deviations: {deviations or 'none'}.",
    ]
    lines += [f"Noted: {mark}." for mark in record["marks"]]
    if outcome := record["method"]["checked"].get("outcome"):
        lines.append(f"Conformance kit: {outcome}.")
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


def _number(value: float, digits: int) -> str:
    """A number, or a dash where there is none."""
    return "-" if value != value else f"{value:.{digits}f}"  # noqa: PLR0124 - NaN
