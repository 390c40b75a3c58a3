"""What a kind of stage is, and the stages of a run as nodes of a graph.

A kind is one file of this folder that defines `KIND`: what its key depends on, how it is made,
its units and cost, its files, and its words. Whoever plans, shows, merges or forecasts stages
goes through `kinds()` and knows none of them by name.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import contrabench.stages as folder_of_kinds
from contrabench.contracts import intact
from contrabench.contracts.reads import told
from contrabench.files import write_text
from contrabench.store.stages import StageStore, key_of

if TYPE_CHECKING:
    from contrabench.progress import Reporter
    from contrabench.stages.run import Run
    from contrabench.training.runtime import Runtime

RECORD = "record.json"
WEIGHTS = "weights.safetensors"
HEAD_WEIGHTS = "head.safetensors"
TRACKING = "tracking"


@dataclass(frozen=True)
class Node:
    """One stage of one run."""

    kind: str
    name: str  # what the words of its kind say of it, such as a method's stage; "" for nothing
    spec: dict[str, Any]  # all that the output depends on; `key` is its hash
    inputs: tuple[str, ...]  # keys of the stages that are read, in order; it starts from the last
    units: int  # what its time grows with: optimiser steps, cases to score, or 0
    cost: str  # nodes with the same one take as long for each unit
    key: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", key_of(self.kind, self.spec))

    @property
    def of_kind(self) -> Kind:
        """The kind itself."""
        return kinds()[self.kind]

    @property
    def doing(self) -> str:
        """What is done, in words that a method's name follows."""
        return self.of_kind.doing.format(name=self.name)

    @property
    def title(self) -> str:
        """The work by its noun."""
        return self.of_kind.title.format(name=self.name)

    @property
    def label_free(self) -> bool:
        """Whether it serves all label budgets and draws."""
        stage = self.spec.get("stage", {})
        return self.spec.get("labelled", ()) is None or stage.get("every_label", False)


@dataclass(frozen=True)
class Making:
    """A run whose stages are made here, on a device, in a store that knows whom to tell."""

    run: Run
    store: StageStore
    runtime: Runtime

    @property
    def reporter(self) -> Reporter:
        """Who is told how far a stage is."""
        return self.store.reporter

    def telling(self, reporter: Reporter) -> Making:
        """The same, with somebody else told."""
        return replace(self, store=StageStore(self.store.root, reporter))

    def make(self, node: Node, wait: bool = True) -> Path:
        """Makes a node whose inputs are done, or finds it in the store.

        Raises:
            AuditError: if a rule of the protocol is broken.
            StageBusyError: if another process is at work on it and not to be waited for.
            RunError: if training fails, or an input is not there.
        """
        make = node.of_kind.make
        return self.store.run(
            node.kind, node.spec, lambda folder: self._guarded(make, node, folder), wait
        )

    def begin(self, node: Node, wait: bool = True) -> Path:
        """Makes the first part of a node, from which `make` goes on; errors as there."""
        return self.store.run(
            node.kind,
            node.spec,
            lambda folder: self._guarded(node.of_kind.begin, node, folder),
            wait,
            finish=False,
        )

    def _guarded(
        self, make: Callable[[Making, Node, Path], None], node: Node, folder: Path
    ) -> None:
        """Makes a node, or a part of it, with the engine and torch as they were before plug-ins.

        RunError that names what is not; what plug-ins read meanwhile is put on record.
        """
        who, known = f"'{self.run.spec.name}'", {}
        for plugin in self.run.plugins:
            known[plugin.__module__] = f"the plug-in of {who}"
        intact.check(known, self.runtime.settings())
        with intact.working(who) as watch:
            make(self, node, folder)
        if watch is not None and (found := told(watch)) and (folder / RECORD).is_file():
            record = read_record(folder)
            found = sorted({*record.get("read", ()), *found})
            write_record(folder, record | {"read": found})

    def weights(self, kind: str, node: Node) -> Path | None:
        """The weights that a node starts from, made by a stage of a kind; None without inputs."""
        return self.store.folder(kind, node.inputs[-1]) / WEIGHTS if node.inputs else None


class Kind(ABC):
    """One kind of stage, with everything about it."""

    name: ClassVar[str]  # of the folder of its stages, and in the record of a run
    order: ClassVar[int]  # stages of a run are made in this order
    plural: ClassVar[str]  # its stages in a table
    doing: ClassVar[str]  # what is done, in words that a method's name follows
    title: ClassVar[str]  # the work by its noun; `{name}` is the stage's
    device: ClassVar[Literal["all", "first", "none"]] = "all"
    """What of it needs a device: all, the first part alone, or nothing."""

    @abstractmethod
    def nodes(self, run: Run, before: tuple[Node, ...]) -> tuple[Node, ...]:
        """The stages of this kind in a run, each after its inputs; `before` are those before."""

    @abstractmethod
    def make(self, making: Making, node: Node, folder: Path) -> None:
        """Fills the folder of a node whose inputs are done; errors as of `Making.make`."""

    def begin(self, making: Making, node: Node, folder: Path) -> None:
        """The part that needs a device, left in the folder; `make` starts with it if it lacks."""
        raise NotImplementedError(f"a stage of kind {self.name} has no first part")

    def seconds_per_unit(self, run: Run, node: Node, runtime: Runtime) -> float:
        """Measures one unit on this device; 0 for a kind whose work is not counted in units."""
        return 0.0

    @abstractmethod
    def disk(self, run: Run, node: Node) -> int:
        """Bytes that the output of a node will keep."""


@cache
def kinds() -> Mapping[str, Kind]:
    """Every kind by its name, in the order in which the stages of a run are made."""
    found = []
    for module in pkgutil.iter_modules(folder_of_kinds.__path__):
        loaded = importlib.import_module(f"{folder_of_kinds.__name__}.{module.name}")
        kind = getattr(loaded, "KIND", None)
        if isinstance(kind, Kind):
            found.append(kind)
    return {kind.name: kind for kind in sorted(found, key=lambda kind: kind.order)}


def nodes_of(run: Run) -> tuple[Node, ...]:
    """The stages of a run in the order in which they are made: its last one is the rows."""
    nodes: tuple[Node, ...] = ()
    for kind in kinds().values():
        nodes += kind.nodes(run, nodes)
    return nodes


def of_kind(nodes: tuple[Node, ...], name: str) -> tuple[Node, ...]:
    """The nodes of one kind, in their order."""
    return tuple(node for node in nodes if node.kind == name)


def weights_after(step: int) -> str:
    """The file of the weights after so many steps of a training that goes on."""
    return f"weights-{step}.safetensors"


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Leaves what a stage cost and saw."""
    write_text(folder / RECORD, json.dumps(record, indent=1))


def read_record(folder: Path) -> dict[str, Any]:
    """What a stage cost and saw."""
    content: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return content
