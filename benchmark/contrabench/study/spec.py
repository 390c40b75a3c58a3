"""A study as it is asked for: methods x label budgets x folds x draws x seeds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from contrabench import limits
from contrabench.contracts import registry
from contrabench.contracts.options import fault_words
from contrabench.contracts.split import GivenSplit
from contrabench.data.own_split import read_split
from contrabench.data.splits import labels_text, parse_labels
from contrabench.errors import RequestError
from contrabench.files import expanded, read_toml
from contrabench.protocol import Budget, Course, Frozen, Phase, Rates, Recipe
from contrabench.references import LEFT_OUT
from contrabench.text import did_you_mean

Count = Annotated[int, Field(ge=1, le=limits.COUNT)]
"""How many, counted from 0."""
Draws = Annotated[tuple[Annotated[int, Field(ge=0, le=limits.NARROW)], ...], Field(min_length=1)]
Seeds = Annotated[tuple[Annotated[int, Field(ge=0, le=limits.SEED)], ...], Field(min_length=1)]


class StudySpec(Frozen):
    """Content of a `study.toml`, and of the command line that does without one."""

    methods: tuple[str, ...] = Field(
        description="names, families, `all`, or option sets such as `mmgl[stages=global]`",
        min_length=1,
    )
    exclude: tuple[str, ...] = Field((), description="names or families to leave out")
    without: tuple[str, ...] = Field(
        (), description=f"references and controls to leave out: {', '.join(LEFT_OUT)}"
    )
    labels: tuple[str, ...] = Field(
        ("10%",), min_length=1, description="label budgets, such as 10%, or 3 for three patients"
    )
    folds: int = Field(5, ge=2, le=limits.FOLDS, description="of the cross-validation")
    split: GivenSplit | None = Field(
        None, description="in place of drawn folds: a file, or a name that the dataset brings"
    )
    test_folds: tuple[int, ...] | None = Field(
        None, min_length=1, description="folds to test; all by default"
    )
    draws: Count | Draws = Field(3, description="draws of labelled patients: how many, or which")
    seeds: Count | Seeds = Field(
        1, description="of initial weights, views and order: how many, or which"
    )
    budget: str | Budget | None = Field(
        None, description="name, or a table with all values; by default the device's own"
    )
    recipe: Recipe = Field("common", description="common, or published for the papers' own")
    rates: tuple[Rates, ...] | None = Field(
        None,
        min_length=1,
        description="of handed-over parts in fine-tuning, uniform or gentle (a tenth); the first "
        "one ranks. Both, uniform first, in studies of few methods",
    )
    views: Literal["axial", "all"] | None = Field(None, description="for every method")
    deep_supervision: bool | None = Field(None, description="for every method")
    score: Literal["student", "teacher"] | None = Field(
        None, description="test what is trained, or its average; for every method"
    )
    course: Course | None = Field(None, description="of the rates in fine-tuning; for every method")
    augmentation: Literal["none", "mild", "strong"] | None = Field(
        None, description="of the labelled slices in fine-tuning; for every method"
    )
    loss: str | None = Field(
        None, description="of the labelled slices, from `bench losses`; for every method"
    )
    metrics: tuple[str, ...] = Field(
        (), description="from `bench metrics`, told beside those of the contract"
    )
    accumulate: int = Field(1, ge=1, le=limits.MACHINE, description="micro-batches per step")
    backbone: str = Field("unet", description="a name from `bench backbones`")
    backbone_options: dict[str, Any] = Field({}, description="as of `-b`")
    dataset: str = Field(description="a name from `bench datasets`")
    dataset_options: dict[str, Any] = Field({}, description="as of `-d`")
    pool: str = Field("", description="another dataset, whose images are trained on as well")
    pool_options: dict[str, Any] = Field(
        {}, description="of that dataset; those not named are as of `-d` if it is the same one"
    )

    @field_validator("labels", mode="before")
    @classmethod
    def _typed(cls, labels: Any) -> Any:
        """A number in a file is what it would be on the command line: 3 patients, or 0.1 of all."""
        if not isinstance(labels, (list, tuple)):
            return labels
        return [str(item) if type(item) in (int, float) else item for item in labels]

    @field_validator("labels")
    @classmethod
    def _budgets(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        """Each label budget as tables write it, each once: counts, then shares, few first."""
        values = sorted(map(parse_labels, labels), key=lambda one: (isinstance(one, float), one))
        return tuple(dict.fromkeys(map(labels_text, values)))

    @field_validator("pool")
    @classmethod
    def _name_alone(cls, pool: str) -> str:
        if re.search(r"[\[:]", pool):
            raise RequestError(
                f"the pool '{pool}' is no name of a dataset; its options go into pool_options, its "
                "folder into [data] of contrabench.toml, or all of it behind --pool"
            )
        return pool

    @field_validator("without")
    @classmethod
    def _known_references(cls, without: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(name.replace("-", "_").replace(" ", "_") for name in without)
        if unknown := [name for name in names if name not in LEFT_OUT]:
            raise RequestError(
                f"'{unknown[0]}' is no reference and no control that stands beside every study; "
                f"--without takes {', '.join(LEFT_OUT)}"
            )
        return tuple(sorted(set(names)))

    @field_validator("test_folds")
    @classmethod
    def _sorted_folds(cls, folds: tuple[int, ...] | None) -> tuple[int, ...] | None:
        return None if folds is None else tuple(sorted(set(folds)))

    @property
    def tested(self) -> tuple[int, ...]:
        """The folds that are tested."""
        return tuple(range(self.all_folds)) if self.test_folds is None else self.test_folds

    @property
    def all_folds(self) -> int:
        """How many folds there are, drawn or given."""
        return len(self.split.folds) if self.split else self.folds

    @property
    def draw_numbers(self) -> tuple[int, ...]:
        """Draws of labelled patients."""
        return _numbers(self.draws)

    @property
    def seed_numbers(self) -> tuple[int, ...]:
        """Seeds of training."""
        return _numbers(self.seeds)


def _numbers(asked: int | tuple[int, ...]) -> tuple[int, ...]:
    return tuple(range(asked)) if isinstance(asked, int) else tuple(sorted(set(asked)))


def read_study(path: Path) -> StudySpec:
    """Reads a `study.toml`; RequestError if there is none, or something is not understood."""
    try:
        return make_study(read_toml(path), str(path), path.parent)
    except FileNotFoundError:
        raise RequestError(
            f"there is no study at {path}; write one with: bench study init {path}"
        ) from None
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}") from error


def make_study(content: dict[str, Any], where: str, folder: Path = Path()) -> StudySpec:
    """Checks the values of a study; RequestError names their source and the first that is wrong.

    `folder` is what the file of a split is relative to.
    """
    try:
        if isinstance(content.get("split"), str):
            content = {**content, "split": _find_split(content, folder)}
        spec = StudySpec.model_validate(content)
        if spec.split and "folds" in content:
            raise RequestError(
                f"a split has folds of its own, here {len(spec.split.folds)}; leave out folds, or "
                "the split"
            )
    except RequestError as error:
        raise RequestError(f"{where}: {error}") from error
    except ValidationError as error:
        faults = error.errors()
        # Of a value that may be of several types, the news is what lies deepest in one of them.
        same = (fault for fault in faults if fault["loc"][:1] == faults[0]["loc"][:1])
        words = fault_words(max(same, key=_depth), StudySpec, Budget, Phase)
        raise RequestError(f"{where}: {words}") from error
    if stray := [fold for fold in spec.tested if not 0 <= fold < spec.all_folds]:
        folds = spec.all_folds
        there = f"{folds} folds are numbered 0 to {folds - 1}" if folds > 1 else "there is fold 0"
        raise RequestError(f"{where}: there is no fold {stray[0]}; {there}")
    return spec


def _depth(fault: ErrorDetails) -> int:
    return len(fault["loc"])


def _find_split(content: dict[str, Any], folder: Path) -> GivenSplit:
    """The split that is named: one that the dataset brings, or that of a file."""
    word, dataset = content["split"], content.get("dataset")
    named = registry.datasets.get(dataset).splits if isinstance(dataset, str) else {}
    if word in named:
        return named[word]
    try:
        return read_split(expanded(word, folder))
    except FileNotFoundError:
        there = f"brings {', '.join(named)}" if named else "brings none"
        raise RequestError(
            f"there is no file {folder / word} and no split '{word}'; "
            f"{did_you_mean(word, named)}the dataset '{dataset}' {there}"
        ) from None
