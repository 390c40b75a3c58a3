"""From a study to its runs, in one step: every method, and the references that stand beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from contrabench.budgets import BUDGETS, find_budget
from contrabench.contracts import registry
from contrabench.contracts.method import Deviations
from contrabench.contracts.options import parse_options
from contrabench.errors import RequestError
from contrabench.protocol import Budget, Seeds, digest
from contrabench.references import FULL, LONGER, REFERENCE
from contrabench.stages.recipe import share_out, usual_options
from contrabench.stages.run import RunSpec
from contrabench.study.methods import Asked, plain, read_methods
from contrabench.study.spec import StudySpec

_EVERY_LABEL = "100%"


def runs_of(
    spec: StudySpec, device: str, precision: str
) -> tuple[tuple[RunSpec, ...], tuple[str, ...]]:
    """Lists the runs of a study; everything that is wrong with its words is found here.

    The references are scratch and scratch_long at every label fraction and full
    supervision, with the same folds and seeds; a method that changes fine-tuning gets a
    scratch beside it that changes it as well, or its row would mix two effects.

    Returns:
        One specification for each run, each once, runs of one fold together; and what was
        left out and why, for the reader.

    Raises:
        RequestError: for a method, option, budget or recipe that does not exist.
    """
    asked, notes = _methods(spec)
    common = _common(spec, device, precision)
    # Everything that a method's words mean is looked up once, not in each of its runs.
    meant = {id(one): _meaning(spec, one, common["budget"]) for one in asked}
    full = plain(REFERENCE)
    meant[id(full)] = _meaning(spec, full, common["budget"])
    runs: dict[str, RunSpec] = {}
    for fold in spec.tested:
        for seed in spec.seed_numbers:
            for one, labels, draw in _cells(spec, asked, full):
                run = RunSpec(
                    **common,
                    **meant[id(one)],
                    labels=labels,
                    fold=fold,
                    draw=draw,
                    seeds=Seeds(init=seed, views=seed, order=seed),
                )
                runs.setdefault(digest(run), run)
    return tuple(runs.values()), tuple(notes)


def _methods(spec: StudySpec) -> tuple[list[Asked], list[str]]:
    """The methods of a study with its references, and what was left out of it."""
    wanted, notes = [], []
    for one in read_methods(spec.methods, spec.exclude):
        if spec.recipe == "published" and one.method.published is None and one.method().stages():
            text = f"{one.name}: no published recipe is known"
            if one.named:
                raise RequestError(f"{text}; leave it out, or run it under the common recipe")
            notes.append(f"left out: {text}")
        else:
            wanted.append(one)
    references = [plain(name) for name in (REFERENCE, LONGER) if name not in spec.without]
    if REFERENCE not in spec.without and any(
        one.deviating(_deviations(spec)).deep_supervision for one in wanted
    ):
        references.append(plain(REFERENCE, deep_supervision=True))
    if spec.without:
        notes.append(
            f"references switched off: {', '.join(spec.without)}; every table will say that they "
            "are missing"
        )
    standing = {one.name for one in references}
    named = [one for one in wanted if one.options or one.deviations or one.name not in standing]
    return [*references, *named], notes


def _deviations(spec: StudySpec) -> dict[str, Any]:
    """The deviations that a study asks of every method."""
    asked = {name: getattr(spec, name) for name in Deviations.model_fields}
    return {name: value for name, value in asked.items() if value is not None}


def _common(spec: StudySpec, device: str, precision: str) -> dict[str, Any]:
    """What all runs of a study share."""
    dataset = registry.datasets.get(spec.dataset)
    backbone = registry.backbones.get(spec.backbone)
    pairs: dict[str, tuple[Any, dict[str, Any], str]] = {
        "dataset_options": (dataset, spec.dataset_options, f"dataset '{spec.dataset}'"),
        "backbone_options": (backbone, spec.backbone_options, f"backbone '{spec.backbone}'"),
    }
    options = {
        name: parse_options(kind.Options, _pairs(values), what).model_dump(mode="json")
        for name, (kind, values, what) in pairs.items()
    }
    return {
        "dataset": spec.dataset,
        "backbone": spec.backbone,
        **options,
        "folds": spec.folds,
        "budget": _budget(spec, device),
        "recipe": spec.recipe,
        "precision": precision,
    }


def _meaning(spec: StudySpec, one: Asked, budget: Budget) -> dict[str, Any]:
    """A method with all its options and deviations."""
    kind = one.method
    asked = parse_options(kind.Options, one.options, f"method '{one.name}'")
    wanted = {name: getattr(asked, name) for name in asked.model_fields_set}
    options = kind.Options.model_validate({**usual_options(kind, spec.recipe), **wanted})
    # Asked here already, so that a recipe that is not known costs no preparation.
    share_out(kind(options), budget, spec.recipe)
    return {
        "method": one.name,
        "options": options.model_dump(mode="json"),
        "deviations": one.deviating(_deviations(spec)),
    }


def _cells(spec: StudySpec, asked: list[Asked], full: Asked) -> Iterator[tuple[Asked, str, int]]:
    """Method, label fraction and draw of each run of one fold and seed."""
    for one in asked:
        for labels in spec.labels:
            # All labels are the same in every draw.
            for draw in (0,) if labels == _EVERY_LABEL else spec.draw_numbers:
                yield one, labels, draw
    if FULL not in spec.without:
        yield full, _EVERY_LABEL, 0


def _budget(spec: StudySpec, device: str) -> Budget:
    """The budget of a study; RequestError if there is none, or its own has another's name."""
    budget = spec.budget
    if not isinstance(budget, Budget):
        budget = find_budget(budget, device)
    elif BUDGETS.get(budget.name, budget) != budget:
        raise RequestError(
            f"the name '{budget.name}' belongs to another budget; give your own another name"
        )
    phases = {
        name: getattr(budget, name).model_copy(update={"accumulate": spec.accumulate})
        for name in ("pretrain", "finetune")
    }
    return budget.model_copy(update=phases)


def _pairs(options: dict[str, Any]) -> list[str]:
    """Options of a file as `name=value`."""
    return [f"{name}={_text(value)}" for name, value in options.items()]


def _text(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_text(item) for item in value)}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
