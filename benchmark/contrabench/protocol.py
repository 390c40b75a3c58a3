"""Frozen, validated specifications and the one hash over their canonical JSON.

Everything a row's number depends on is one of these models. They hold no paths, worker
counts or devices: what does not change a number does not change a hash.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from contrabench import limits

PROTOCOL_VERSION = 5
"""Raised whenever the engine computes other numbers from the same specification."""
NOT_APPLICABLE = "not applicable"
"""The flag of a row whose structure neither reference nor prediction holds."""

ALONG = (5, 10, 25, 50)
"""Percent of fine-tuning's steps after which the network is scored too, and chosen by nobody."""

METRIC_CONTRACT = 1
"""Raised whenever a score means something else; see `contrabench.evaluation.metrics`."""

Orientation = Literal["axial", "coronal", "sagittal"]
ORIENTATIONS: tuple[Orientation, ...] = ("axial", "coronal", "sagittal")
ENCODER = ("enc1", "enc2", "enc3", "enc4", "centre")
DECODER = ("centre_up", "dec4", "dec3", "dec2", "dec1")
PARTS = ENCODER + DECODER
"""The parts of a U-shaped network from the image on, as methods call them."""
HEAD = "head"
"""What `transfers()` calls the segmentation head, which is no part of a backbone."""
Optimizer = Literal["adamw", "adam", "sgd", "lars"]
Schedule = Literal["cosine", "constant"]
Recipe = Literal["common", "published"]
"""Whose optimisation pre-trains: the protocol's, the same for all, or each paper's own."""
Rates = Literal["uniform", "gentle"]
"""The rate of handed-over parts in fine-tuning: that of all others, or a tenth of it."""
GENTLE = 0.1
Course = Literal["common", "warmup", "frozen_first", "sawtooth"]
"""How the rates of fine-tuning run; see `Pace`."""
_LONG = 0.25
_TOOTH = 0.1


class Frozen(BaseModel):
    """Base of all specifications: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Options(Frozen):
    """Base of a plug-in's own options. Give every field a default and a description."""


def canonical_json(value: BaseModel | Mapping[str, Any] | list[Any]) -> str:
    """JSON in which equal content gives equal text: sorted keys, no spaces, no NaN or infinity.

    Of a model or JSON-like data; ValueError if a number is not finite.
    """
    data = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: BaseModel | Mapping[str, Any] | list[Any], length: int = 16) -> str:
    """Returns the first `length` hexadecimal digits of SHA-256 over the canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]


class DataRecipe(Frozen):
    """How volumes become network input; the same for pre-training and fine-tuning."""

    field_of_view_mm: float = Field(
        224.0, gt=0, le=limits.FIELD_MM, description="side of the square around the centre"
    )
    clip_percentiles: tuple[float, float] = Field((0.5, 99.5), description="intensity clip")
    version: int = 1


class Phase(Frozen):
    """The optimisation of one phase; under the common recipe the same for every method."""

    images: int = Field(
        gt=0, le=limits.IMAGES, description="slices drawn in all; a step draws `batch` of them"
    )
    batch: int = Field(gt=0, le=limits.BATCH)
    optimizer: Optimizer = "adamw"
    lr: float = Field(gt=0, description="peak learning rate")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd and lars")
    weight_decay: float = Field(1e-4, ge=0)
    schedule: Schedule = Field("cosine", description="what follows the warm-up")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps with a rising rate")
    clip: float | None = Field(5.0, gt=0, description="largest gradient norm; None: any")
    accumulate: int = Field(
        1, gt=0, le=limits.MACHINE, description="micro-batches per step; losses see one each"
    )

    @property
    def steps(self) -> int:
        """Optimiser steps: images divided by batch, at least one."""
        return max(1, self.images // self.batch)

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of a step, counted from 0, of `steps` in the whole stage.

        It is `lr * (step + 1) / w` in the first w = round(warmup * steps) steps, then
        `lr * (1 + cos(pi * t)) / 2` with t from 0 to just below 1, or `lr` throughout.
        """
        warm = round(self.warmup * steps)
        if step < warm:
            return self.lr * (step + 1) / warm
        if self.schedule == "constant":
            return self.lr
        share = (step - warm) / max(1, steps - warm)
        return self.lr * (1 + math.cos(math.pi * share)) / 2


class Pace(Frozen):
    """How fast fine-tuning trains what was handed over, and what is new.

    The courses beside the common one are those that are tried on pre-trained encoders (Wald et al.,
    CVPR 2025): `warmup` lets the rate rise for a quarter of the steps, `frozen_first` holds handed
    parts for as long, and `sawtooth` lets new parts rise alone for a tenth, then all of them anew.
    """

    rates: Rates = "uniform"
    course: Course = "common"

    def rate(self, phase: Phase, handed: bool, step: int, steps: int) -> float:
        """Learning rate in a step, counted from 0, of parts that were `handed` over or are new."""
        factor = GENTLE if handed and self.rates == "gentle" else 1.0
        if self.course == "warmup":
            phase = phase.model_copy(update={"warmup": _LONG})
        elif self.course == "frozen_first" and handed and step < round(_LONG * steps):
            return 0.0
        elif self.course == "sawtooth":
            first = round(_TOOTH * steps)
            if step < first:
                return 0.0 if handed else phase.lr * (step + 1) / first
            step, steps = step - first, steps - first
        return factor * phase.rate(step, steps)


COMMON_PACE = Pace()


class Budget(Frozen):
    """A named amount of computation, equal for every method."""

    name: str = Field(pattern=r"^[\w .+-]{1,40}$")
    pixels: int = Field(
        ge=32, le=limits.PIXELS, multiple_of=16, description="side of a slice in pixels"
    )
    width: int = Field(ge=4, le=limits.WIDTH, description="channels of the first level")
    pretrain: Phase
    finetune: Phase


class BackboneSpec(Frozen):
    """The network, the same for all methods."""

    name: str = "unet"
    options: dict[str, Any] = {}
    width: int = Field(description="channels of the first level")
    in_channels: int = 1


def seed_for(*parts: object) -> int:
    """Derives a 63-bit seed from named parts; equal parts give equal seeds everywhere.

    Hashed, never added: `seed_for("views", 0, 1)` and `seed_for("views", 1, 0)` are unrelated.
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


class Seeds(Frozen):
    """Seeds by purpose, so that two runs can share some of them and differ in others."""

    split: int = 0
    labels: int = 0
    init: int = 0
    views: int = 0
    order: int = 0

    def in_fold(self, fold: int) -> Seeds:
        """Those of the networks of a fold.

        Were all folds trained from the same weights, the luck of these would be in every fold, and
        nothing between folds could tell it from what a method brings.
        """
        own = ("init", "views", "order")
        return self.model_copy(
            update={name: seed_for(name, "fold", fold, getattr(self, name)) for name in own}
        )


class Protocol(Frozen):
    """Everything a row's number depends on except the method and what it is asked for.

    Rows of different protocols never share a table; `digest(protocol)` tells them apart.
    """

    version: int = PROTOCOL_VERSION
    dataset: str
    dataset_version: int
    dataset_options: dict[str, Any]
    data: str = Field(description="digest of all volumes")
    pool: str = Field("", description="another dataset, whose images are trained on as well")
    pool_data: str = Field("", description="digest of its volumes")
    structures: tuple[str, ...]
    recipe: DataRecipe
    folds: int
    split_seed: int
    split: str = Field("", description="hash of a given split over these patients; empty: drawn")
    backbone: BackboneSpec
    budget: Budget
    pretraining: Recipe
    precision: str
    finetuning: str = "all weights, cross-entropy + soft Dice, last checkpoint"
    metric_contract: int
