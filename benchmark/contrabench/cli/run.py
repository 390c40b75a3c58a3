"""`bench run`: one method at one label budget, from volumes to a table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contrabench.cli.common import JsonOption, PluginOption, console, write_json
from contrabench.cli.options import (
    DEFAULT_DATASET,
    MACHINE,
    PROTOCOL,
    BudgetOption,
    ChannelsLastOption,
    CompileOption,
    ConfigOption,
    DataOption,
    DatasetOptions,
    DeepSupervisionOption,
    DeviceName,
    DeviceOption,
    DevicesOption,
    PrecisionName,
    PrecisionOption,
    RecipeName,
    StoreOption,
    TrackOption,
    ViewsOption,
    pin_threads,
    tracker_names,
)
from contrabench.errors import RequestError
from contrabench.text import counted

if TYPE_CHECKING:
    from contrabench.progress import Reporter
    from contrabench.stages.request import Plan
    from contrabench.study.run import RunResult
    from contrabench.training.runtime import Runtime

_NAMED = 6


def run(
    method: Annotated[str, typer.Option(help="A name from 'bench methods'.")],
    labels: Annotated[
        str, typer.Option(help="Share of the training patients whose labels may be used.")
    ],
    dataset: Annotated[
        str, typer.Option(help="A name from 'bench datasets'.", rich_help_panel=PROTOCOL)
    ] = DEFAULT_DATASET,
    data: DataOption = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "-o",
            "--option",
            metavar="NAME=VALUE",
            help="Option of the method, see 'bench methods show'; may be repeated.",
            rich_help_panel=PROTOCOL,
        ),
    ] = None,
    dataset_option: DatasetOptions = None,
    budget: BudgetOption = None,
    recipe: Annotated[
        RecipeName,
        typer.Option(
            help="Optimisation of pre-training: the same for all, or each paper's own.",
            rich_help_panel=PROTOCOL,
        ),
    ] = RecipeName.common,
    views: ViewsOption = None,
    deep_supervision: DeepSupervisionOption = None,
    fold: Annotated[
        str,
        typer.Option(help="Fold to test, from 0; or 'all'.", rich_help_panel=PROTOCOL),
    ] = "0",
    folds: Annotated[int, typer.Option(help="Number of folds.", rich_help_panel=PROTOCOL)] = 5,
    draw: Annotated[
        int,
        typer.Option(min=0, help="Which draw of labelled patients.", rich_help_panel=PROTOCOL),
    ] = 0,
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            help="Seed of initial weights, views and order.",
            rich_help_panel=PROTOCOL,
        ),
    ] = 0,
    accumulate: Annotated[
        int,
        typer.Option(
            min=1,
            help="Micro-batches per step, to save memory; losses see one each.",
            rich_help_panel=PROTOCOL,
        ),
    ] = 1,
    device: DeviceOption = DeviceName.auto,
    precision: PrecisionOption = PrecisionName.auto,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads; they change bits.", rich_help_panel=MACHINE),
    ] = None,
    compile: CompileOption = False,  # noqa: A002 - the option's name
    channels_last: ChannelsLastOption = False,
    devices: DevicesOption = 1,
    track: TrackOption = "",
    store: StoreOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
    plugin: PluginOption = None,
) -> None:
    """Pre-train a method, fine-tune on few labels, and score Dice and ASD on unseen patients."""
    pin_threads(threads)
    from contrabench.cli.config import load_config
    from contrabench.progress import ConsoleReporter
    from contrabench.study.resolve import Request, resolve
    from contrabench.training.runtime import make_runtime

    settings = load_config(config, store)
    runtime = make_runtime(
        device.value,
        precision.value,
        threads,
        compile,
        channels_last,
        devices=devices,
        trackers=tracker_names(track),
    )
    request = Request(
        method=method,
        labels=labels,
        dataset=dataset,
        root=settings.folder_of(dataset, data),
        options=option or (),
        dataset_options=dataset_option or (),
        budget=budget,
        recipe=recipe.value,
        views=None if views is None else views.value,
        deep_supervision=deep_supervision,
        folds=folds,
        draw=draw,
        seed=seed,
        accumulate=accumulate,
    )
    plans = [resolve(replace(request, fold=number), runtime) for number in _folds(fold, folds)]
    screen = console(stderr=json)
    reporter = ConsoleReporter(screen)
    reporter.line(_headline(plans[0], runtime, chosen=budget is not None))
    for line in _recipe_lines(plans[0]):
        reporter.line(line)
    results = _carry_out(plans, settings.store, runtime, reporter)
    if json:
        write_json([result.record for result in results])
        return
    from contrabench.cli.result import show_results

    show_results(screen, plans[0], results, settings.store)


def _folds(fold: str, folds: int) -> list[int]:
    """Reads `--fold`: one number, or all of them."""
    if fold == "all":
        return list(range(folds))
    if not fold.isdigit() or int(fold) >= folds:
        raise RequestError(f"there is no fold '{fold}'; choose 0 to {folds - 1}, or 'all'")
    return [int(fold)]


def _headline(plan: Plan, runtime: Runtime, chosen: bool) -> str:
    """One line of what is about to run."""
    spec = plan.spec
    why = "" if chosen else (" (no GPU found)" if runtime.device == "cpu" else " (GPU found)")
    return (
        f"{plan.variant()} on {spec.dataset}, budget {spec.budget.name}{why}: "
        f"{spec.budget.pixels} x {spec.budget.pixels} pixels, width {spec.budget.width}; "
        f"{runtime.device}, {runtime.threads} threads, {runtime.precision}"
    )


def _recipe_lines(plan: Plan) -> list[str]:
    """What the published recipe takes from the paper, and what it does not."""
    from contrabench.stages.recipe import share_out

    spec, published = plan.spec, plan.method.published
    notes = [work.note for work in share_out(plan.method, spec.budget, spec.recipe) if work.note]
    if not notes or published is None:
        return []
    changed = ", ".join(f"{name}={value}" for name, value in published.options.items())
    lines = ["published recipe; backbone, views, images seen and fine-tuning stay common"]
    lines += [f"  {note}" for note in notes]
    lines += [f"  options: {changed}"] if changed else []
    lines += [f"  left common: {item}" for item in published.unknown]
    return lines


def _names(patients: tuple[str, ...]) -> str:
    """The patients' names, or the first of many."""
    shown = ", ".join(patients[:_NAMED])
    return shown if len(patients) <= _NAMED else f"{shown}, ..."


def _carry_out(
    plans: list[Plan], store: Path, runtime: Runtime, reporter: Reporter
) -> list[RunResult]:
    """Runs the plans one after another on the same prepared cases."""
    from contrabench.stages.blueprint import Blueprint
    from contrabench.stages.prepare import prepare
    from contrabench.study.run import run

    cases = prepare(plans[0], store, reporter)
    results = []
    for plan in plans:
        blueprint = Blueprint(plan, cases)
        split, manifest = blueprint.split, blueprint.manifest
        reporter.line(
            f"fold {split.fold} of {split.folds}: {manifest.sentence()} "
            f"({_names(manifest.patients)}); {counted(len(split.test), 'test patient')}"
        )
        results.append(run(plan, cases, store, runtime, reporter))
    return results
