"""From the words of a request to a plan: names to plug-ins, text to typed options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from contrabench.budgets import BUDGETS, find_budget
from contrabench.contracts import registry
from contrabench.contracts.method import Deviations
from contrabench.contracts.options import parse_options
from contrabench.data.splits import parse_fraction
from contrabench.errors import RequestError
from contrabench.protocol import Budget, Options, Recipe, Seeds
from contrabench.stages.prepare import dataset_class
from contrabench.stages.recipe import share_out
from contrabench.stages.request import Plan, RunSpec, usual_options
from contrabench.training.runtime import Runtime


@dataclass(frozen=True)
class Request:
    """A run as it is asked for on the command line or in a file.

    Attributes:
        method: registered name.
        labels: share of the training patients, e.g. `10%`.
        dataset: registered name.
        root: folder of the dataset's files, if it needs any.
        options: `name=value` of the method.
        dataset_options: `name=value` of the dataset.
        budget: name, one of one's own, or None for the device's own.
        recipe: the common optimisation of pre-training, or each paper's own.
        views: orientations to pre-train on; None for the method's own.
        deep_supervision: None for the method's own.
        folds: of the cross-validation.
        fold: the one to test.
        draw: which draw of labelled patients.
        seed: of initial weights, views and order.
        accumulate: micro-batches per step.
    """

    method: str
    labels: str
    dataset: str
    root: Path | None = None
    options: Sequence[str] = ()
    dataset_options: Sequence[str] = ()
    budget: str | Budget | None = None
    recipe: Recipe = "common"
    views: Literal["axial", "all"] | None = None
    deep_supervision: bool | None = None
    folds: int = 5
    fold: int = 0
    draw: int = 0
    seed: int = 0
    accumulate: int = 1


def resolve(request: Request, runtime: Runtime) -> Plan:
    """Makes the plan; everything that is wrong with a request's words is found here.

    Raises:
        RequestError: for an unknown name, option or value, or a missing folder.
    """
    # The fraction as a table writes it, so that 0.1 and 10% are one run.
    labels = f"{100 * parse_fraction(request.labels):g}%"
    method_class = registry.methods.get(request.method)
    asked = parse_options(method_class.Options, request.options, f"method '{request.method}'")
    method = method_class(_with_recipe(asked, usual_options(method_class, request.recipe)))
    kind = dataset_class(request.dataset, request.root)
    dataset = kind(
        request.root,
        parse_options(kind.Options, request.dataset_options, f"dataset '{request.dataset}'"),
    )
    spec = RunSpec(
        dataset=request.dataset,
        method=request.method,
        labels=labels,
        folds=request.folds,
        fold=request.fold,
        draw=request.draw,
        deviations=_deviations(method_class.deviations, request),
        budget=_accumulated(_budget(request.budget, runtime.device), request.accumulate),
        recipe=request.recipe,
        precision=runtime.precision,
        seeds=Seeds(init=request.seed, views=request.seed, order=request.seed),
    )
    # Asked here already, so that a recipe that is not known costs no preparation.
    share_out(method, spec.budget, spec.recipe)
    return Plan(spec, dataset, method)


def _budget(budget: str | Budget | None, device: str) -> Budget:
    """The budget of a request; one of one's own must not go under a known name.

    Raises:
        RequestError: if there is no such budget, or its name is taken.
    """
    if not isinstance(budget, Budget):
        return find_budget(budget, device)
    if BUDGETS.get(budget.name, budget) != budget:
        raise RequestError(
            f"the name '{budget.name}' belongs to another budget; give your own another name"
        )
    return budget


def _with_recipe(asked: Options, usual: dict[str, Any]) -> Options:
    """The options of a recipe, except where others were asked for."""
    wanted = {name: getattr(asked, name) for name in asked.model_fields_set}
    return type(asked).model_validate({**usual, **wanted})


def _deviations(usual: Deviations, request: Request) -> Deviations:
    """The method's own deviations, with what was asked for instead."""
    asked: dict[str, Any] = {
        name: getattr(request, name)
        for name in Deviations.model_fields
        if getattr(request, name) is not None
    }
    return usual.model_copy(update=asked)


def _accumulated(budget: Budget, parts: int) -> Budget:
    """The budget with its steps made of several micro-batches."""
    phases = {
        name: getattr(budget, name).model_copy(update={"accumulate": parts})
        for name in ("pretrain", "finetune")
    }
    return budget.model_copy(update=phases)
