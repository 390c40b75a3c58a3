"""What one run computes, resolved: every name is known to exist, options are checked.

It holds no path and no device, and travels to any process.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from contrabench.contracts import registry
from contrabench.contracts.dataset import Dataset
from contrabench.contracts.method import Deviations, Method
from contrabench.contracts.options import typed
from contrabench.contracts.split import GivenSplit
from contrabench.data.splits import NO_FOLDS
from contrabench.errors import RequestError
from contrabench.protocol import Budget, Frozen, Rates, Recipe, Seeds
from contrabench.references import LONGER
from contrabench.stages.recipe import usual_options


class RunSpec(Frozen):
    """What one run computes; no paths, no device."""

    dataset: str
    dataset_options: dict[str, Any] = Field({}, description="all of them")
    pool: str = Field("", description="another dataset, whose images are trained on as well")
    pool_options: dict[str, Any] = Field({}, description="of that, all of them")
    method: str
    options: dict[str, Any] = Field({}, description="of the method, all of them")
    joint: str = Field("", description="another method, which fine-tunes in its joint stages")
    joint_options: dict[str, Any] = Field({}, description="of that, all of them")
    labels: str
    folds: int = Field(5, ge=NO_FOLDS, description="0: nobody is tested")
    split: GivenSplit | None = Field(None, description="in place of drawn folds")
    fold: int = Field(0, ge=0)
    draw: int = Field(0, ge=0)
    deviations: Deviations
    rates: Rates | Literal[""] = Field(
        "", description="of handed-over parts in fine-tuning; empty where none is handed over"
    )
    backbone: str = "unet"
    backbone_options: dict[str, Any] = Field({}, description="all of them")
    budget: Budget
    recipe: Recipe = "common"
    precision: str
    seeds: Seeds
    metrics: tuple[str, ...] = Field((), description="told beside those of the contract")

    @model_serializer(mode="wrap")
    def _as_before(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Runs without further metrics keep the keys that they had before there were any."""
        found: dict[str, Any] = write(self)
        if not self.metrics:
            found.pop("metrics", None)
        return found

    @property
    def name(self) -> str:
        """What is run, by its registered names: `simclr`, or `simclr+mean_teacher`."""
        return "+".join(filter(None, (self.method, self.joint)))

    def open_method(self) -> Method:
        """The method with its options."""
        kind = registry.methods.get(self.method)
        return kind(kind.Options.model_validate(self.options))

    def open_tuner(self) -> Method:
        """The method whose joint stages fine-tune, if it has any: another one, or the same."""
        if not self.joint:
            return self.open_method()
        kind = registry.methods.get(self.joint)
        return kind(kind.Options.model_validate(self.joint_options))

    def open_dataset(self, root: Path | None) -> Dataset:
        """The dataset with its options and the folder of its files."""
        return open_dataset(self.dataset, self.dataset_options, root)

    def open_pool(self, root: Path | None) -> Dataset:
        """The dataset whose images are trained on as well, with the folder of its files."""
        return open_dataset(self.pool, self.pool_options, root, f"--pool {self.pool}:FOLDER")

    def place(self) -> str:
        """What is trained on, by its registered names: `acdc`, or `acdc + mmwhs`."""
        return " + ".join(filter(None, (self.dataset, self.pool)))

    def variant(self) -> str:
        """The method as tables name it: with what differs from its defaults in brackets."""
        method, tuner = self.open_method(), self.open_tuner()
        usual = combined_deviations(type(method), type(tuner))
        named = _named(self.method, method, self.recipe, (self.deviations, usual))
        return f"{named}+{_named(self.joint, tuner, 'common')}" if self.joint else named


def combined_deviations(method: type[Method], tuner: type[Method]) -> Deviations:
    """Those of a method, with the scored network of the one whose joint stages fine-tune.

    And with the longer fine-tuning of the two; that of the reference for it is in its name.
    """
    home = f"{registry.methods.package}.{LONGER}"
    told = [one for one in (method, tuner) if one.__module__ != home]
    extras = [max(one.finetune_extra, one.deviations.finetune_extra) for one in told]
    extra = max(extras, default=0.0)
    changed = {"score": tuner.deviations.score, "finetune_extra": extra}
    return method.deviations.model_copy(update=changed)


def _named(
    name: str, method: Method, recipe: Recipe, *others: tuple[Deviations, Deviations]
) -> str:
    """A method with what differs from its defaults, and in other values from the usual ones."""
    defaults = type(method.options).model_validate(usual_options(type(method), recipe))
    pairs: list[tuple[Frozen, Frozen]] = [(method.options, defaults), *others]
    changed = {
        field: getattr(mine, field)
        for mine, standard in pairs
        for field in type(mine).model_fields
        if getattr(mine, field) != getattr(standard, field)
    }
    inside = ", ".join(f"{field}={typed(value)}" for field, value in sorted(changed.items()))
    return f"{name}[{inside}]" if changed else name


def open_dataset(
    name: str, options: dict[str, Any], root: Path | None, how: str = "--data FOLDER"
) -> Dataset:
    """A registered dataset.

    RequestError if there is none, it needs files and none are named, or it needs none and some are.

    `how` a command line names its folder.
    """
    kind = registry.datasets.get(name)
    if kind.info.needs_path and root is None:
        raise RequestError(f"'{name}' needs its files: {how}, with {kind.info.layout}")
    if not kind.info.needs_path and root is not None:
        raise RequestError(
            f"'{name}' makes its volumes and would not look into {root}; say what that folder "
            "holds, such as --dataset nifti, or leave it out"
        )
    return kind(root, kind.Options.model_validate(options))
