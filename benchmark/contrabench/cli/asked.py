"""What the command line says of runs and studies, each option once for all that take it."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import typer

from contrabench import limits
from contrabench.cli import options
from contrabench.cli.options import (
    DEFAULT_DATASET,
    MACHINE,
    PROTOCOL,
    Config,
    fold_numbers,
    load_config,
    machine,
    pairs,
    pool_words,
    whole,
)
from contrabench.progress import Reporter
from contrabench.text import kept_whole, split_words

if TYPE_CHECKING:
    from contrabench.contracts.executor import Crew
    from contrabench.study.session import Session
    from contrabench.study.spec import StudySpec
    from contrabench.training.runtime import Runtime


def value(help_text: str, *names: str, **shown: Any) -> Any:
    """An option that is part of what is compared."""
    return typer.Option(*names, help=help_text, rich_help_panel=PROTOCOL, **shown)


def number(help_text: str, least: int, most: int) -> Any:
    """One that takes a whole number."""
    return whole(help_text, least, most, PROTOCOL)


def listing(help_text: str) -> Any:
    """One that takes words with commas between them."""
    return value(help_text, metavar="LIST")


@dataclass(frozen=True, kw_only=True)
class Asked(ABC):
    """What runs and studies have in common; None where the command line says nothing.

    Attributes:
        left_out: fields that a command line cannot set, and that keep their defaults.
    """

    left_out: ClassVar[tuple[str, ...]] = ()

    dataset: Annotated[str | None, value("From 'bench datasets'; phantom by default.")] = None
    data: options.Data = None
    dataset_option: options.DatasetPairs = None
    pool: Annotated[
        str | None,
        value("Another dataset, for its images alone; as mmwhs\\[modality=mr]:FOLDER."),
    ] = None
    backbone: Annotated[str | None, value("From 'bench backbones'; unet by default.")] = None
    backbone_option: Annotated[
        list[str] | None, pairs("-b", "--backbone-option", of="backbone")
    ] = None
    folds: Annotated[int | None, number("Number of folds; 5 by default.", 2, limits.FOLDS)] = None
    split: Annotated[
        str | None,
        value(
            "Own split in place of folds: nnU-Net's splits_final.json, a file with train, val and "
            "test by patient, or a name that the dataset brings, as ssl4mis of acdc."
        ),
    ] = None
    budget: options.Budget = None
    recipe: Annotated[
        Literal["common", "published"] | None,
        value("Optimisation of pre-training: the same for all, or each paper's own."),
    ] = None
    views: Annotated[
        Literal["axial", "all"] | None,
        value("Orientations to pre-train on; by default the method's own."),
    ] = None
    deep_supervision: Annotated[
        bool | None,
        value("Fine-tune with heads on three levels; by default the method's own."),
    ] = None
    course: Annotated[
        Literal["common", "warmup", "frozen_first", "sawtooth"] | None,
        value("How the rates of fine-tuning run; by default as in every method."),
    ] = None
    augmentation: Annotated[
        Literal["none", "mild", "strong"] | None,
        value("Of the labelled slices in fine-tuning; mild by default."),
    ] = None
    score: Annotated[
        Literal["student", "teacher"] | None,
        value("Test the network that is trained, or its average; by default as the method does."),
    ] = None
    loss: Annotated[
        str | None, value("Of fine-tuning, from 'bench losses'; as tversky\\[alpha=0.3].")
    ] = None
    metrics: Annotated[
        str | None,
        listing("Told beside the contract's, from 'bench metrics'; e.g. volume_error."),
    ] = None
    accumulate: Annotated[
        int | None,
        number("Micro-batches per step, to save memory; losses see one each.", 1, limits.MACHINE),
    ] = None
    device: options.Device = "auto"
    precision: options.Precision = "auto"
    threads: options.Threads = None
    compile: options.Compile = False
    deterministic: options.Deterministic = False
    devices: Annotated[
        int,
        whole(
            "Devices that share one network's pre-training; fine-tuning takes one.",
            *(1, limits.MACHINE, MACHINE),
        ),
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

    def at_once(self, device: str) -> int:
        """Stages at once on a kind of device of this machine."""
        from contrabench.study.executors.local import default_workers

        return self.stages_at_once or default_workers(device, self.devices, self.threads or 1)

    def parts(self, device: str) -> int:
        """Parts of the cores of which each process that trains has one."""
        return self.devices

    def given(self) -> dict[str, Any]:
        """The fields of a study that the command line names, by options of the same name."""
        from contrabench.contracts.options import read_pairs
        from contrabench.study.spec import StudySpec

        asked = {name: getattr(self, name, None) for name in StudySpec.model_fields}
        told = {name: value for name, value in asked.items() if value is not None}
        for what in ("dataset", "backbone"):
            if given := getattr(self, f"{what}_option"):
                told[f"{what}_options"] = read_pairs(given)
        if self.metrics is not None:
            told["metrics"] = split_words(self.metrics)
        if self.pool is not None:
            told["pool"], pool_options, _ = pool_words(self.pool)
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
            resolve_device,
            resolve_precision,
        )

        switches: dict[str, Any] = {
            "compile": self.compile,
            "deterministic": self.deterministic,
            "devices": self.devices,
            "trackers": tuple(dict.fromkeys(split_words(self.track))),
        }
        if device is None:
            threads = self.threads or default_threads(self.parts(resolve_device(self.device)))
            return make_runtime(self.device, self.precision, threads, **switches)
        precision = resolve_precision(self.precision, device)
        return Runtime(device, precision, self.threads or 1, **switches)

    def crew(self, device: str, threads: int) -> Crew:
        """What an executor is asked for."""
        from contrabench.contracts.executor import Crew
        from contrabench.study.status import study_folder
        from contrabench.training.runtime import usable_cores

        # They have one thread each.
        free = usable_cores() - self.at_once(device) * self.devices * threads
        helpers = 0 if device == "cpu" else max(1, free)
        log = study_folder(self.settings().store, self.spec()) / "workers.log"
        return Crew(self.stages_at_once, threads, self.devices, device, log, helpers)

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
        spec = self.spec()
        return self.roots_of(spec.dataset, spec.pool)

    def roots_of(self, dataset: str, pool: str) -> tuple[Path | None, Path | None]:
        """The same for what is known by name, as of a run that was made before."""
        settings = self.settings()
        root = settings.folder_of(dataset, self.data)
        _, _, named = pool_words(self.pool or "")
        same = root if pool == dataset else None
        return root, settings.folder_of(pool, named or same)


@dataclass(frozen=True, kw_only=True)
class RunArguments(Asked):
    """One method at one label budget: a study of one run, or of one in each fold."""

    method: Annotated[str, typer.Option(help="A name from 'bench methods'.")]
    labels: Annotated[
        str,
        typer.Option(help="Training patients whose labels may be used: 10%, or 3 for three."),
    ]
    option: Annotated[list[str] | None, pairs("-o", "--option", of="method")] = None
    fold: Annotated[str, value("Fold to test, from 0; or 'all'.")] = "0"
    rates: Annotated[
        Literal["uniform", "gentle"],
        value("Rate of handed-over parts in fine-tuning: that of all others, or a tenth."),
    ] = "uniform"
    draw: Annotated[int, number("Which draw of labelled patients.", 0, limits.NARROW)] = 0
    seed: Annotated[int, number("Seed of initial weights, views and order.", 0, limits.SEED)] = 0

    def spec(self) -> StudySpec:
        """A study without references and controls."""
        from contrabench.contracts.registry import methods
        from contrabench.references import LEFT_OUT
        from contrabench.study.spec import make_study

        first, plus, second = self.method.partition("+")
        methods.get(first)
        inside = f"[{', '.join(map(_one, self.option))}]" if self.option else ""
        asked = {
            "dataset": DEFAULT_DATASET,
            **self.given(),
            "methods": [f"{first}{inside}{plus}{second}"],
            "labels": [self.labels],
            "test_folds": fold_numbers(self.fold),
            "draws": [self.draw],
            "seeds": [self.seed],
            "rates": [self.rates],
            "without": list(LEFT_OUT),
        }
        return make_study(asked, "the run")


def _one(pair: str) -> str:
    """An option as it stands in brackets beside others: a text with a comma in quotes."""
    key, sign, value = pair.partition("=")
    return pair if value.strip()[:1] in ("[", '"', "{") else f"{key}{sign}{kept_whole(value)}"


@dataclass(frozen=True, kw_only=True)
class FitArguments(RunArguments):
    """One method that is to be used: trained on everybody, and tested on nobody."""

    left_out: ClassVar = ("fold", "folds", "split", "draw", "metrics")

    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="A run whose settings are taken: its key or folder."),
    ] = None
    method: Annotated[
        str | None, typer.Option(help="A name from 'bench methods', in the place of a run.")
    ] = None  # type: ignore[assignment]
    winner: Annotated[
        bool,
        typer.Option("--winner", help="The best method of the store, in the place of a run."),
    ] = False
    labels: Annotated[str, typer.Option(help="Patients whose labels are used; all by default.")] = (
        "100%"
    )
