"""The options that describe a study, once for all commands that take one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from contrabench.cli.common import PluginOption
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

if TYPE_CHECKING:
    from contrabench.progress import Reporter
    from contrabench.study.session import Session
    from contrabench.study.spec import StudySpec
    from contrabench.training.runtime import Runtime


def _list(help_text: str) -> Any:
    return typer.Option(metavar="LIST", help=help_text, rich_help_panel=PROTOCOL)


def _value(help_text: str) -> Any:
    return typer.Option(help=help_text, rich_help_panel=PROTOCOL)


@dataclass(frozen=True)
class StudyArguments:
    """What the command line says of a study; None where it says nothing."""

    file: Annotated[
        Path | None,
        typer.Argument(metavar="STUDY.toml", help="A study from 'bench study init'."),
    ] = None
    methods: Annotated[
        str | None, _list("Names, families, 'all', or option sets as mmgl\\[stages=global].")
    ] = None
    exclude: Annotated[str | None, _list("Methods and families to leave out.")] = None
    without: Annotated[
        str | None,
        _list("References to leave out: scratch, scratch_long, full_supervision."),
    ] = None
    labels: Annotated[str | None, _list("Label fractions, as 10%,20%,40%.")] = None
    dataset: Annotated[str | None, _value("A name from 'bench datasets'.")] = None
    data: DataOption = None
    dataset_option: DatasetOptions = None
    folds: Annotated[int | None, _value("Number of folds; 5 by default.")] = None
    fold: Annotated[str | None, _list("Folds to test, from 0; all by default.")] = None
    draws: Annotated[int | None, _value("Draws of labelled patients; 3 by default.")] = None
    seeds: Annotated[int | None, _value("Number of seeds; 1 by default.")] = None
    budget: BudgetOption = None
    recipe: Annotated[
        RecipeName | None,
        _value("Optimisation of pre-training: the same for all, or each paper's own."),
    ] = None
    views: ViewsOption = None
    deep_supervision: DeepSupervisionOption = None
    accumulate: Annotated[int | None, _value("Micro-batches per step, to save memory.")] = None
    device: DeviceOption = DeviceName.auto
    precision: PrecisionOption = PrecisionName.auto
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Stages at once; by default one for each GPU, or one on a CPU.",
            rich_help_panel=MACHINE,
        ),
    ] = None
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="CPU threads of a worker; they change bits. The cores are shared out by default.",
            rich_help_panel=MACHINE,
        ),
    ] = None
    compile: CompileOption = False
    channels_last: ChannelsLastOption = False
    devices: DevicesOption = 1
    track: TrackOption = ""
    store: StoreOption = None
    config: ConfigOption = None
    plugin: PluginOption = None

    def spec(self) -> StudySpec:
        """The study of the file, with what the command line says instead.

        Raises:
            RequestError: if neither a file nor methods are named, or something is wrong.
        """
        from contrabench.study.spec import make_study, read_study

        given = {name: value for name, value in self._given().items() if value is not None}
        if self.fold is not None:
            given["test_folds"] = _folds(self.fold)
        if self.file is not None:
            base = read_study(self.file).model_dump(exclude_unset=True)
            where = f"{self.file} and the command line" if given else str(self.file)
            return make_study(_over(base, given), where)
        if self.methods is None:
            raise RequestError(
                "no study is named; give --methods mmgl,simclr, or a file that "
                "'bench study init' has written"
            )
        return make_study({"dataset": DEFAULT_DATASET, **given}, "the study")

    def _given(self) -> dict[str, Any]:
        """The fields of a study that the command line names."""
        from contrabench.contracts.options import read_pairs
        from contrabench.study.method_list import split_words

        lists = {name: getattr(self, name) for name in ("methods", "exclude", "without", "labels")}
        words = {name: None if text is None else split_words(text) for name, text in lists.items()}
        return {
            **words,
            "dataset": self.dataset,
            "dataset_options": self.dataset_option and read_pairs(self.dataset_option),
            "folds": self.folds,
            "draws": self.draws,
            "seeds": self.seeds,
            "budget": self.budget,
            "recipe": self.recipe and self.recipe.value,
            "views": self.views and self.views.value,
            "deep_supervision": self.deep_supervision,
            "accumulate": self.accumulate,
        }

    def runtime(self) -> Runtime:
        """The runtime of each worker; the cores are shared out among them.

        Raises:
            RequestError: if a device or a tracker is not there.
        """
        pin_threads(self.threads)
        from contrabench.training.runtime import default_threads, make_runtime

        return make_runtime(
            self.device.value,
            self.precision.value,
            self.threads or default_threads((self.workers or 1) * self.devices),
            self.compile,
            self.channels_last,
            devices=self.devices,
            trackers=tracker_names(self.track),
        )

    def cluster_runtime(self, gpus: bool) -> Runtime:
        """The runtime of the workers of a cluster, whatever this machine has.

        Args:
            gpus: whether the cluster has any.
        """
        from contrabench.training.runtime import Runtime

        device = self.device.value
        if device == "auto":
            device = "cuda" if gpus else "cpu"
        precision = self.precision.value
        if precision == "auto":
            precision = "bf16" if device == "cuda" else "float32"
        return Runtime(
            device=device,
            precision=precision,
            threads=self.threads or 1,
            compile=self.compile,
            channels_last=self.channels_last,
            devices=self.devices,
            trackers=tracker_names(self.track),
        )

    def slots(self, runtime: Runtime) -> int:
        """Stages at once: as many as there are GPUs for, else one, unless told otherwise."""
        if self.workers is None and runtime.device == "cuda":
            import torch

            return max(1, torch.cuda.device_count() // self.devices)
        return self.workers or 1

    def session(self, runtime: Runtime, reporter: Reporter) -> Session:
        """Plans the study, with the folders that the command line or the configuration names."""
        from contrabench.cli.config import load_config
        from contrabench.study.session import plan_study

        spec, settings = self.spec(), load_config(self.config, self.store)
        root = settings.folder_of(spec.dataset, self.data)
        return plan_study(spec, root, settings.store, runtime, reporter)


def _over(base: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The fields of a file under those of the command line.

    `-d` names single options of the dataset, so the file's others stay, unless the command
    line asks for another dataset.
    """
    if given.get("dataset", base["dataset"]) != base["dataset"]:
        base = {**base, "dataset_options": {}}
    options = {**base.get("dataset_options", {}), **given.get("dataset_options", {})}
    return {**base, **given, "dataset_options": options}


def _folds(text: str) -> list[int] | None:
    """Reads `--fold`: numbers, or all."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if words == ["all"]:
        return None
    if stray := [word for word in words if not (word.isascii() and word.isdigit())]:
        raise RequestError(f"'{stray[0]}' is no fold; write numbers from 0, as --fold 0,1, or all")
    return [int(word) for word in words]


def takes_study(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options of a study before its own.

    Args:
        command: its first parameter is the `StudyArguments`, the others are keyword-only
            with annotations as typer reads them.
    """
    names = {item.name for item in fields(StudyArguments)}
    hints = get_type_hints(StudyArguments, include_extras=True)
    shared = [
        inspect.Parameter(
            item.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=item.default,
            annotation=hints[item.name],
        )
        for item in fields(StudyArguments)
    ]
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        asked = StudyArguments(**{name: given.pop(name) for name in names})
        command(asked, **given)

    wrapper.__signature__ = inspect.Signature([*shared, *own])  # type: ignore[attr-defined]
    wrapper.__annotations__ = {}
    return wrapper
