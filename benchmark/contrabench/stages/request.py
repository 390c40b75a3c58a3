"""A run as it was asked for, resolved: names to plug-ins, defaults to values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import Field

from contrabench.contracts.dataset import Dataset
from contrabench.contracts.fingerprint import fingerprint
from contrabench.contracts.method import Deviations, Method
from contrabench.protocol import BackboneSpec, Budget, DataRecipe, Frozen, Recipe, Seeds


class RunSpec(Frozen):
    """What one run computes; no paths, no device."""

    dataset: str
    method: str
    labels: str
    folds: int = Field(5, ge=2)
    fold: int = Field(0, ge=0)
    draw: int = Field(0, ge=0)
    deviations: Deviations
    budget: Budget
    recipe: Recipe = "common"
    precision: str
    seeds: Seeds

    @property
    def backbone(self) -> BackboneSpec:
        """The network at the budget's width."""
        return BackboneSpec(width=self.budget.width)


@dataclass(frozen=True)
class Plan:
    """A run with the plug-ins that carry it out.

    Attributes:
        spec: what is computed.
        dataset: with its options and path.
        method: with its options.
    """

    spec: RunSpec
    dataset: Dataset
    method: Method

    @property
    def data_recipe(self) -> DataRecipe:
        """How volumes become network input."""
        return self.dataset.recipe

    def method_spec(self) -> dict[str, Any]:
        """What identifies the method's computation: its code, version and options."""
        return {
            "name": self.spec.method,
            "code": fingerprint(type(self.method)),
            "version": self.method.info.version,
            "options": self.method.options.model_dump(mode="json"),
        }

    def variant(self) -> str:
        """The method as tables name it: with what differs from its defaults in brackets."""
        options = self.method.options
        defaults = type(options).model_validate(usual_options(type(self.method), self.spec.recipe))
        changed = {
            name: getattr(options, name)
            for name in type(options).model_fields
            if getattr(options, name) != getattr(defaults, name)
        }
        usual = type(self.method).deviations
        changed |= {
            name: getattr(self.spec.deviations, name)
            for name in Deviations.model_fields
            if getattr(self.spec.deviations, name) != getattr(usual, name)
        }
        if not changed:
            return self.spec.method
        inside = ", ".join(f"{name}={_word(value)}" for name, value in sorted(changed.items()))
        return f"{self.spec.method}[{inside}]"


def usual_options(method: type[Method], recipe: Recipe) -> dict[str, Any]:
    """The options that a recipe sets otherwise than the method's defaults."""
    if recipe == "common" or method.published is None:
        return {}
    return dict(method.published.options)


def _word(value: object) -> str:
    """An option's value as it would be typed."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return "+".join(_word(item) for item in value)
    return str(value)
