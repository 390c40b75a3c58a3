"""What the command line says of a study, and of the fixed one that gives advice."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from contrabench import limits
from contrabench.cli.asked import Asked, listing, number
from contrabench.cli.options import DEFAULT_DATASET, MACHINE, fold_numbers, shown, whole
from contrabench.errors import RequestError
from contrabench.files import expanded
from contrabench.text import split_words

if TYPE_CHECKING:
    from contrabench.stages.run_spec import RunSpec
    from contrabench.study.advice import Held
    from contrabench.study.spec import StudySpec


@dataclass(frozen=True, kw_only=True)
class StudyArguments(Asked):
    """A study from a file, from the command line, or both."""

    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="STUDY.toml", parser=expanded, help="A study from 'bench study init'."
        ),
    ] = None
    methods: Annotated[
        str | None, listing("Names, families, 'all', or option sets as mmgl\\[stages=global].")
    ] = None
    exclude: Annotated[str | None, listing("Methods and families to leave out.")] = None
    without: Annotated[
        str | None,
        listing(
            "References and controls to leave out: scratch, scratch_long, full_supervision, "
            "oracle, noise."
        ),
    ] = None
    labels: Annotated[
        str | None, listing("Label budgets: shares or counts of patients, as 10%,20% or 1,3,10%.")
    ] = None
    fold: Annotated[str | None, listing("Folds to test, from 0; all by default.")] = None
    rates: Annotated[
        str | None,
        listing(
            "Rates of handed-over parts in fine-tuning, uniform or gentle (a tenth): the first "
            "one ranks. With few methods both by default."
        ),
    ] = None
    draws: Annotated[
        int | None, number("Draws of labelled patients; 3 by default.", 1, limits.COUNT)
    ] = None
    seeds: Annotated[int | None, number("Number of seeds; 1 by default.", 1, limits.COUNT)] = None
    workers: Annotated[
        int | None,
        whole(
            "Stages at once; by default one for each GPU, or core up to four.",
            *(1, limits.MACHINE, MACHINE),
        ),
    ] = None

    def spec(self) -> StudySpec:
        """The study of the file, with what the command line says instead."""
        from contrabench.study.spec import make_study, read_study

        given = self.given()
        for name in ("methods", "exclude", "without", "labels", "rates"):
            if name in given:
                given[name] = split_words(given[name])
        if self.fold is not None:
            given["test_folds"] = fold_numbers(self.fold)
        if self.file is not None:
            file = shown(self.file)
            base = read_study(file).model_dump(exclude_unset=True)
            where = f"{file} and the command line" if given else str(file)
            return make_study(over(base, given), where)
        if self.methods is None:
            raise RequestError(
                "no study is named; give --methods mmgl,simclr, or a file that "
                "'bench study init' has written"
            )
        return make_study({"dataset": DEFAULT_DATASET, **given}, "the study")

    @property
    def stages_at_once(self) -> int | None:
        """As many as there are workers."""
        return self.workers

    def parts(self, device: str) -> int:
        """Half of the cores is for what needs no device, unless all are what trains."""
        training = self.at_once(device) * self.devices
        return training if device == "cpu" else 2 * training


@dataclass(frozen=True, kw_only=True)
class AdviseArguments(StudyArguments):
    """The fixed study on the data that are named."""

    left_out: ClassVar = (
        *("file", "methods", "exclude", "without", "labels", "fold", "folds", "split", "draws"),
        *("seeds", "rates", "recipe", "views", "deep_supervision", "course", "augmentation"),
        *("score", "loss", "metrics"),
    )

    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATA",
            parser=expanded,
            help="Folder with the volumes, some with labels and some without.",
        ),
    ] = None
    dataset: Annotated[
        str | None, typer.Option(help="From 'bench datasets'; nifti by default.")
    ] = None

    @cached_property
    def runs(self) -> tuple[RunSpec, ...]:
        """The runs of the study at one label budget."""
        from contrabench.study.runs import runs_of

        return runs_of(self._study(["1"]), "cpu", "float32")[0]

    @property
    def run(self) -> RunSpec:
        """Any run of the study, for what it says of the data."""
        return self.runs[0]

    @cached_property
    def family(self) -> int:
        """How many rows the study compares with scratch."""
        from contrabench.study.runs import comparisons

        return comparisons(self.runs)

    @property
    def suffices(self) -> bool:
        """Whether so many labelled patients can show any difference."""
        from contrabench.statistics.signflip import fewest_patients

        return self.held.labelled >= fewest_patients(self.family)

    @cached_property
    def held(self) -> Held:
        """What the data hold."""
        from contrabench.study.advice import held_by

        return held_by(self.run, *self.roots())

    def roots(self) -> tuple[Path | None, Path | None]:
        """The folders of the dataset's files and of the pool's."""
        return self.roots_of(self.run.dataset, self.run.pool)

    def spec(self) -> StudySpec:
        """The study, at label budgets that fit the data."""
        from contrabench.study.advice import design, label_budgets

        return self._study(label_budgets(self.held, design()["folds"]))

    def _study(self, labels: list[str]) -> StudySpec:
        from contrabench.study.advice import design
        from contrabench.study.spec import make_study

        return make_study({**over(design(), self.given()), "labels": labels}, "the study")


def over(base: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The fields of a file under those of the command line.

    `-d` and `-b` name single options, so the file's others stay, unless the command line asks
    for another dataset or backbone.
    """
    # Folds are drawn or given; what the command line says takes the place of the other.
    others = {"split": "folds", "folds": "split"}
    taken = {other for name, other in others.items() if name in given}
    merged = {**{name: value for name, value in base.items() if name not in taken}, **given}
    for what in ("dataset", "pool", "backbone"):
        name = f"{what}_options"
        kept = base.get(name, {}) if given.get(what, base.get(what)) == base.get(what) else {}
        merged[name] = {**kept, **given.get(name, {})}
    return merged
