"""`bench profile`: what a step of each method costs on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from contrabench import limits
from contrabench.cli import options, output
from contrabench.contracts import registry
from contrabench.progress import Reporter
from contrabench.text import one_line

if TYPE_CHECKING:
    from contrabench.contracts.method import JointStage, Stage
    from contrabench.protocol import Budget
    from contrabench.training.runtime import Runtime

NOTES = (
    "step: median and quartiles of whole optimiser steps on synthetic slices; views: share of "
    "it that makes batch and views.",
    "x bare: step / the same passes through the bare network, forward and backward, and an "
    "optimiser step; median and quartiles of pairs. rest: share of the step that is neither.",
    "passes: images through the network in a step, and those of them with a gradient.",
    "GFLOP: matrix products and convolutions of a step, forward and backward. ops: operations of "
    "torch that compute. kept: what autograd keeps of a forward pass, parameters apart.",
    "waits: times that the loss would wait for a GPU, on one that is only pretended.",
)


@options.command(
    "bench profile",
    "bench profile simclr mmgl --budget standard --device cuda",
    "bench profile --plugin my_method.py --json",
)
def profile(
    methods: Annotated[
        list[str] | None,
        typer.Argument(metavar="[METHODS]...", help="Names in 'bench methods'; all by default."),
    ] = None,
    budget: options.Budget = None,
    steps: Annotated[
        int, options.whole("Steps to measure, after a warm-up.", 1, limits.STEPS)
    ] = 10,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    compile: options.Compile = False,  # noqa: A002 - the option's name
    deterministic: options.Deterministic = False,
    json: options.Json = False,
    plugin: options.Plugins = None,
) -> None:
    """Measure time, memory and operations of a step of each stage that a method brings."""
    from contrabench.budgets import find_budget
    from contrabench.stages.rows import environment
    from contrabench.training.runtime import make_runtime

    switches = {"compile": compile, "deterministic": deterministic}
    runtime = make_runtime(device, precision, threads, **switches)
    size = find_budget(budget, runtime.device)
    reporter = output.reporter(stderr=json)
    reporter.line(
        f"budget {size.name}: {size.pixels} x {size.pixels} pixels, width {size.width}, batch "
        f"{size.pretrain.batch} in pre-training and {size.finetune.batch} labelled slices in "
        f"fine-tuning; {runtime.device}, {runtime.threads} threads, {runtime.precision}"
    )
    names = methods or registry.methods.names()
    found = [_measure(name, size, runtime, steps, reporter) for name in names]
    if json:
        output.write_json(
            {
                "budget": size.model_dump(mode="json"),
                "steps": steps,
                "runtime": runtime.record(),
                "environment": environment(),
                "methods": [
                    {**row, "stages": [stage.as_dict() for stage in row["stages"]]} for row in found
                ],
            }
        )
        return
    _show(reporter.console, found)


def _measure(
    name: str, budget: Budget, runtime: Runtime, steps: int, reporter: Reporter
) -> dict[str, Any]:
    """The stages of a method, or why one of them could not be measured."""
    from contrabench.inspection.profile import profile_stage

    row: dict[str, Any] = {"method": name, "stages": [], "failed": None}
    method_class = registry.methods.get(name)
    # A stranger's code runs here, and may raise anything, lack of memory included.
    try:
        method = method_class()
        stages: tuple[Stage | JointStage, ...] = (*method.stages(), *method.joint_stages())
        for stage in stages:
            reporter.line(f"  {name}, {stage.name}")
            row["stages"].append(profile_stage(method, stage, budget, runtime, steps))
    except Exception as error:
        row["failed"] = one_line(error)
    return row


def _show(screen: Console, found: list[dict[str, Any]]) -> None:
    """Prints the table, and below it what could not be measured."""
    cuda = any(stage.peak_mb is not None for row in found for stage in row["stages"])
    memory = ("kept MiB", "peak MiB") if cuda else ("kept MiB",)
    numbers = (
        "step ms",
        "",
        "x bare",
        "",
        "views",
        "rest",
        "slices/s",
        "passes",
        "GFLOP",
        "ops",
        "waits",
        *memory,
    )
    table = output.plain_table("method", "stage", right=numbers)
    for row in found:
        for stage in row["stages"]:
            table.add_row(
                row["method"],
                stage.stage,
                f"{1e3 * stage.step.median:.1f}",
                f"({1e3 * stage.step.low:.1f} to {1e3 * stage.step.high:.1f})",
                f"{stage.ratio.median:.2f}",
                f"({stage.ratio.low:.2f} to {stage.ratio.high:.2f})",
                f"{stage.views_share:.0%}",
                f"{stage.rest_share:.0%}",
                f"{stage.slices_per_second:.0f}",
                f"{stage.passes} ({stage.gradients})",
                f"{stage.flops / 1e9:.3g}",
                f"{stage.operations}",
                "-" if stage.waits is None else f"{stage.waits}",
                f"{stage.saved_mb:.0f}",
                *(["-" if stage.peak_mb is None else f"{stage.peak_mb:.0f}"] if cuda else []),
            )
        if not row["stages"] and not row["failed"]:
            table.add_row(row["method"], "no stage of its own")
    screen.print(table)
    for row in found:
        if row["failed"]:
            screen.print(f"not measured: {row['method']}: {row['failed']}", soft_wrap=True)
    screen.print(*NOTES, sep="\n", style="dim", soft_wrap=True)
