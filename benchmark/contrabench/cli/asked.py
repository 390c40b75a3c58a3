"""What the command line says of a run or a study, each option once for all that take it."""

from __future__ import annotations

import functools
import inspect
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from contrabench.cli import options
from contrabench.cli.options import DEFAULT_DATASET, PROTOCOL, Config, load_config, machine, pairs
from contrabench.errors import RequestError
from contrabench.progress import Reporter
from contrabench.text import split_words

if TYPE_CHECKING:
    from contrabench.contracts.executor import Crew
    from contrabench.study.session import Session
    from contrabench.study.spec import StudySpec
    from contrabench.training.runtime import Runtime

A = TypeVar("A", bound="Asked")


def _value(help_text: str, *names: str, least: int | None = None, **shown: Any) -> Any:
    return typer.Option(*names, help=help_text, min=least, rich_help_panel=PROTOCOL, **shown)


def _list(help_text: str) -> Any:
    return _value(help_text, metavar="LIST")


@dataclass(frozen=True, kw_only=True)
class Asked(ABC):
    """What runs and studies have in common; None where the command line says nothing."""

    dataset: Annotated[str | None, _value("From 'bench datasets'; phantom by default.")] = None
    data: options.Data = None
    dataset_option: options.DatasetPairs = None
    pool: Annotated[
        str | None,
        _value("Another dataset, for its images alone; as mmwhs\\[modality=mr]:FOLDER."),
    ] = None
    backbone: Annotated[str | None, _value("From 'bench backbones'; unet by default.")] = None
    backbone_option: Annotated[
        list[str] | None, pairs("-b", "--backbone-option", of="backbone")
    ] = None
    folds: Annotated[int | None, _value("Number of folds; 5 by default.")] = None
    split: Annotated[
        str | None,
        _value(
            "Own split in place of folds: nnU-Net's splits_final.json, a file with train, val and "
            "test by patient, or a name that the dataset brings, as ssl4mis of acdc."
        ),
    ] = None
    budget: options.Budget = None
    recipe: Annotated[
        Literal["common", "published"] | None,
        _value("Optimisation of pre-training: the same for all, or each paper's own."),
    ] = None
    views: Annotated[
        Literal["axial", "all"] | None,
        _value("Orientations to pre-train on; by default the method's own."),
    ] = None
    deep_supervision: Annotated[
        bool | None,
        _value("Fine-tune with heads on three levels; by default the method's own."),
    ] = None
    course: Annotated[
        Literal["common", "warmup", "frozen_first", "sawtooth"] | None,
        _value("How the rates of fine-tuning run; by default as in every method."),
    ] = None
    augmentation: Annotated[
        Literal["none", "mild", "strong"] | None,
        _value("Of the labelled slices in fine-tuning; mild by default."),
    ] = None
    score: Annotated[
        Literal["student", "teacher"] | None,
        _value("Test the network that is trained, or its average; by default as the method does."),
    ] = None
    accumulate: Annotated[
        int | None, _value("Micro-batches per step, to save memory; losses see one each.")
    ] = None
    device: options.Device = "auto"
    precision: options.Precision = "auto"
    threads: options.Threads = None
    compile: options.Compile = False
    channels_last: options.ChannelsLast = False
    devices: Annotated[
        int,
        machine("Devices that share one network's pre-training; fine-tuning takes one.", least=1),
    ] = 1
    track: Annotated[
        str,
        machine(
            "Show losses in tensorboard, mlflow or wandb (offline) as well.",
            metavar="LIST",
            show_default=False,
        ),
    ] = ""
    store: options.Store = None
    config: options.ConfigFile = None
    plugin: options.Plugins = None

    @abstractmethod
    def spec(self) -> StudySpec:
        """The study that is asked for; RequestError if something in it is wrong."""

    @property
    def stages_at_once(self) -> int | None:
        """One, in this process, unless there are workers; None for as many as there are devices."""
        return 1

    def given(self) -> dict[str, Any]:
        """The fields of a study that the command line names, by options of the same name."""
        from contrabench.contracts.options import read_pairs
        from contrabench.study.spec import StudySpec

        asked = {name: getattr(self, name, None) for name in StudySpec.model_fields}
        told = {name: value for name, value in asked.items() if value is not None}
        for what in ("dataset", "backbone"):
            if given := getattr(self, f"{what}_option"):
                told[f"{what}_options"] = read_pairs(given)
        if self.pool is not None:
            told["pool"], pool_options, _ = _pool(self.pool)
            if pool_options:
                told["pool_options"] = read_pairs(pool_options)
        return told

    def runtime(self, device: str | None = None) -> Runtime:
        """The runtime of each stage; the cores are shared out among those at once.

        `device` is the kind that they find elsewhere, None to look for one on this machine.
        RequestError if a device or a tracker is not there.
        """
        if self.threads is not None:
            # Some libraries split their sums by what stands here when they are loaded, whatever
            # is set later: `--threads 1` would give other bits with it than without.
            os.environ["OMP_NUM_THREADS"] = str(self.threads)
        from contrabench.training.runtime import (
            Runtime,
            default_threads,
            make_runtime,
            resolve_precision,
        )

        switches: dict[str, Any] = {
            "compile": self.compile,
            "channels_last": self.channels_last,
            "devices": self.devices,
            "trackers": tuple(dict.fromkeys(split_words(self.track))),
        }
        if device is None:
            threads = self.threads or default_threads((self.stages_at_once or 1) * self.devices)
            return make_runtime(self.device, self.precision, threads, **switches)
        precision = resolve_precision(self.precision, device)
        return Runtime(device, precision, self.threads or 1, **switches)

    def crew(self, device: str, threads: int) -> Crew:
        """What an executor is asked for."""
        from contrabench.contracts.executor import Crew
        from contrabench.study.status import study_folder

        log = study_folder(self.settings().store, self.spec()) / "workers.log"
        return Crew(self.stages_at_once, threads, self.devices, device, log)

    def settings(self) -> Config:
        """The folders of results and data: as told here, else as configured."""
        return load_config(self.config, self.store)

    def session(self, runtime: Runtime, reporter: Reporter) -> Session:
        """Plans the study."""
        from contrabench.study.session import plan_study

        (root, pool_root), store = self.roots(), self.settings().store
        return plan_study(self.spec(), root, store, runtime, reporter, pool_root)

    def roots(self) -> tuple[Path | None, Path | None]:
        """The folders of the dataset's files and of the pool's, where they have any."""
        spec, settings = self.spec(), self.settings()
        root = settings.folder_of(spec.dataset, self.data)
        _, _, named = _pool(self.pool or "")
        same = root if spec.pool == spec.dataset else None
        return root, settings.folder_of(spec.pool, named or same)


@dataclass(frozen=True, kw_only=True)
class RunArguments(Asked):
    """One method at one label budget: a study of one run, or of one in each fold."""

    method: Annotated[str, typer.Option(help="A name from 'bench methods'.")]
    labels: Annotated[
        str,
        typer.Option(help="Training patients whose labels may be used: 10%, or 3 for three."),
    ]
    option: Annotated[list[str] | None, pairs("-o", "--option", of="method")] = None
    fold: Annotated[str, _value("Fold to test, from 0; or 'all'.")] = "0"
    rates: Annotated[
        Literal["uniform", "gentle"],
        _value("Rate of handed-over parts in fine-tuning: that of all others, or a tenth."),
    ] = "uniform"
    draw: Annotated[int, _value("Which draw of labelled patients.", least=0)] = 0
    seed: Annotated[int, _value("Seed of initial weights, views and order.", least=0)] = 0

    def spec(self) -> StudySpec:
        """A study without references and controls."""
        from contrabench.contracts.registry import methods
        from contrabench.references import LEFT_OUT
        from contrabench.study.spec import make_study

        first, plus, second = self.method.partition("+")
        methods.get(first)
        inside = f"[{', '.join(self.option)}]" if self.option else ""
        asked = {
            "dataset": DEFAULT_DATASET,
            **self.given(),
            "methods": [f"{first}{inside}{plus}{second}"],
            "labels": [self.labels],
            "test_folds": _folds(self.fold),
            "draws": [self.draw],
            "seeds": [self.seed],
            "rates": [self.rates],
            "without": list(LEFT_OUT),
        }
        return make_study(asked, "the run")


@dataclass(frozen=True, kw_only=True)
class StudyArguments(Asked):
    """A study from a file, from the command line, or both."""

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
        _list(
            "References and controls to leave out: scratch, scratch_long, full_supervision, "
            "oracle, noise."
        ),
    ] = None
    labels: Annotated[
        str | None, _list("Label budgets: shares or counts of patients, as 10%,20% or 1,3,10%.")
    ] = None
    fold: Annotated[str | None, _list("Folds to test, from 0; all by default.")] = None
    rates: Annotated[
        str | None,
        _list(
            "Rates of handed-over parts in fine-tuning, uniform or gentle (a tenth): the first "
            "one ranks. With few methods both by default."
        ),
    ] = None
    draws: Annotated[int | None, _value("Draws of labelled patients; 3 by default.")] = None
    seeds: Annotated[int | None, _value("Number of seeds; 1 by default.")] = None
    workers: Annotated[
        int | None,
        machine("Stages at once; by default one for each GPU, or one on a CPU.", least=1),
    ] = None

    def spec(self) -> StudySpec:
        """The study of the file, with what the command line says instead."""
        from contrabench.study.spec import make_study, read_study

        given = self.given()
        for name in ("methods", "exclude", "without", "labels", "rates"):
            if name in given:
                given[name] = split_words(given[name])
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

    @property
    def stages_at_once(self) -> int | None:
        """As many as there are workers."""
        return self.workers


def _over(base: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
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


def _pool(text: str) -> tuple[str, list[str], Path | None]:
    """Reads `--pool`: a dataset, its options in brackets, and the folder of its files."""
    found = re.fullmatch(r"([^\[:]*)(?:\[(.*?)\])?(?::(.+))?", text)
    if found is None:
        raise RequestError(
            f"--pool '{text}' is not understood; write DATASET, DATASET:FOLDER or "
            "DATASET[option=value]:FOLDER"
        )
    name, options, folder = found.groups()
    return name, split_words(options or ""), Path(folder).expanduser() if folder else None


def _folds(text: str) -> list[int] | None:
    """Reads `--fold`: numbers, or all."""
    words = split_words(text)
    if words == ["all"]:
        return None
    if stray := [word for word in words if not (word.isascii() and word.isdigit())]:
        raise RequestError(f"'{stray[0]}' is no fold; write numbers from 0, as --fold 0,1, or all")
    return [int(word) for word in words]


def takes(asked: type[A]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the options of a dataclass before its own.

    Its own fields come first, then those that it inherits. The command's first parameter is one;
    its others are keyword-only, annotated as typer reads them.
    """
    shared = sorted(
        inspect.signature(asked, eval_str=True).parameters.values(),
        key=lambda parameter: parameter.name not in asked.__annotations__,
    )

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        rest = list(inspect.signature(command, eval_str=True).parameters.values())[1:]

        @functools.wraps(command)
        def wrapper(**given: Any) -> None:
            told = asked(**{item.name: given.pop(item.name) for item in shared})
            command(told, **given)

        wrapper.__signature__ = inspect.Signature([*shared, *rest])  # type: ignore[attr-defined]
        wrapper.__annotations__ = {}
        return wrapper

    return decorate
