"""What each pre-training stage computes: the budget shared out, under one of two recipes.

Under the common recipe every stage has the budget's optimisation. Under the published one
it has its paper's optimiser, rate, schedule, batch and clipping, as far as a source gives them; the
images seen stay the budget's, and so does all of fine-tuning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from contrabench.contracts.method import JointStage, Method, Optimisation, Stage, Stream
from contrabench.errors import RequestError
from contrabench.protocol import Budget, Phase, Recipe
from contrabench.references import CONTROL_FAMILY

_FEWEST_STEPS = 100
"""A paper's batch is cut down until a stage has this many steps, but not below the budget's."""


@dataclass(frozen=True)
class StageWork:
    """One pre-training stage, its optimisation and steps, and what the recipe means in words."""

    stage: Stage
    phase: Phase
    steps: int
    note: str = ""


def usual_options(method: type[Method], recipe: Recipe) -> dict[str, Any]:
    """The options that a recipe sets otherwise than the method's defaults."""
    if recipe == "common" or method.published is None:
        return {}
    return dict(method.published.options)


def share_out(method: Method, budget: Budget, recipe: Recipe) -> list[StageWork]:
    """Plans the pre-training stages in order.

    RequestError if no recipe is known for the method, or a stage is one of controls alone.
    """
    stages = tuple(method.stages())
    if method.info.family != CONTROL_FAMILY and (odd := [s for s in stages if s.controls]):
        raise RequestError(
            f"stage '{odd[0].name}' of '{method.info.title}' sees all masks, or what is spoilt; "
            f"only a method of the family '{CONTROL_FAMILY}' may, and is never ranked"
        )
    shares = _shares(stages, budget.pretrain.steps)
    common = [
        StageWork(stage, budget.pretrain, steps)
        for stage, steps in zip(stages, shares, strict=True)
    ]
    if recipe == "common" or not stages:
        return common
    if method.published is None:
        raise RequestError(
            f"no published recipe is known for '{method.info.title}'; leave out --recipe, and "
            "compare it with others under the common one"
        )
    return [_as_published(work, method.published.stages.get(work.stage.name)) for work in common]


def tuning_stages(method: Method, steps: int) -> list[tuple[JointStage | None, int]]:
    """The stages of fine-tuning with the steps of each: a method's own, else the common one.

    RequestError if the first one wants pseudo-labels, which nothing before could predict.
    """
    stages = tuple(method.joint_stages())
    if stages and stages[0].predicted:
        raise RequestError(
            f"'{method.info.title}': its first joint stage '{stages[0].name}' wants labels that a "
            "stage before predicts, and there is none; put one without pseudo-labels first"
        )
    return list(zip(stages, _shares(stages, steps), strict=True)) or [(None, steps)]


def unlabelled_batches(
    budget: Budget, streams: Sequence[Stream], tuning: Sequence[tuple[JointStage | None, int]]
) -> list[int]:
    """Slices of each stream of a joint stage in a step: together as many as pre-training sees.

    Over all steps of `tuning`'s stages that have streams; one at least of each stream, and a
    multiple of the micro-batches.
    """
    parts, total = budget.finetune.accumulate, sum(stream.share for stream in streams)
    seeing = sum(steps for stage, steps in tuning if stage is not None and stage.streams)
    a_step = budget.pretrain.images / max(1, seeing)
    return [max(1, int(a_step * s.share / total) // parts) * parts for s in streams]


def _shares(stages: Sequence[Stage | JointStage], total: int) -> list[int]:
    """Splits the steps of a phase over its stages, to the last step."""
    weight = sum(stage.share for stage in stages)
    ends = [
        round(total * sum(s.share for s in stages[: i + 1]) / weight) for i in range(len(stages))
    ]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def _as_published(work: StageWork, paper: Optimisation | None) -> StageWork:
    """A stage with its paper's optimisation, its images as before to less than one batch."""
    if paper is None:
        note = f"stage {work.stage.name}: no source gives its optimisation; the common one"
        return StageWork(work.stage, work.phase, work.steps, note)
    common = work.phase
    images = work.steps * common.batch
    wanted = paper.batch or common.batch
    unit = math.lcm(common.accumulate, max(1, work.stage.partitions))
    batch = max(unit, min(wanted, max(common.batch, images // _FEWEST_STEPS)) // unit * unit)
    rate = paper.lr * (batch / paper.lr_batch if paper.lr_batch else 1)
    own = paper.model_dump(include=set(Phase.model_fields))
    settled = {"images": images, "batch": batch, "lr": rate}
    phase = Phase.model_validate(common.model_dump() | own | settled)
    return StageWork(work.stage, phase, phase.steps, _words(work.stage.name, paper, phase))


def _words(stage: str, paper: Optimisation, phase: Phase) -> str:
    """The published optimisation in one line, with what had to change."""
    scaled = f" ({paper.lr:g} per {paper.lr_batch} images)" if paper.lr_batch else ""
    if paper.batch is None:
        batch = f"batch {phase.batch} (the budget's; no source)"
    elif paper.batch != phase.batch:
        batch = f"batch {phase.batch} instead of {paper.batch}, to fit the budget's images"
    else:
        batch = f"batch {phase.batch}"
    clipped = f"clipped at {phase.clip:g}" if phase.clip else "not clipped"
    return (
        f"stage {stage}: {phase.optimizer}, rate {phase.lr:.3g}{scaled}, decay "
        f"{phase.weight_decay:g}, warm-up {phase.warmup:.0%}, {phase.schedule}, gradients "
        f"{clipped}, {batch}, {phase.steps} steps; {paper.source}"
    )
