"""The stages of a whole study, each once, with what waits for what and what is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from contrabench.data.prepare import PreparedCase
from contrabench.data.splits import Split
from contrabench.files import MARKER
from contrabench.stages import audit
from contrabench.stages.kind import Node, nodes_of
from contrabench.stages.run import Run
from contrabench.stages.run_spec import RunSpec
from contrabench.store.failures import read_failure
from contrabench.store.stages import RUNS, home_of

_TUNED = ("finetune", "evaluate", RUNS)
"""Kinds of stages that the rates of fine-tuning make a difference to."""
State = Literal["done", "failed", "to do"]


@dataclass
class PlannedStage:
    """A stage of a study, with the first run that needs it and how many rest on it."""

    node: Node
    spec: RunSpec
    variant: str
    runs: int = 0

    @property
    def key(self) -> str:
        """Of the stage's output."""
        return self.node.key

    @property
    def place(self) -> str:
        """What tells it from its sisters: fold, labels, draw, seed."""
        spec = self.spec
        place = f"fold {spec.fold}"
        if spec.rates == "gentle" and self.node.kind in _TUNED:
            place = f"{place}, gentle"
        if not self.node.label_free:
            place = f"{spec.labels}, {place}, draw {spec.draw}"
        return f"{place}, seed {spec.seeds.init}" if spec.seeds.init else place

    @property
    def title(self) -> str:
        """What it is, in words."""
        return f"{self.node.doing} {self.variant}: {self.place}"


@dataclass(frozen=True)
class Graph:
    """All stages of a study by key, each after its inputs.

    `pretrainings_asked` is what the runs would take if each pre-trained for itself; `tested` counts
    the patients that are tested.
    """

    stages: dict[str, PlannedStage]
    pretrainings_asked: int
    tested: int

    @property
    def runs(self) -> list[PlannedStage]:
        """The last stage of each run."""
        return self.of_kind(RUNS)

    @property
    def pretrainings(self) -> int:
        """Number of pre-training stages that are really made."""
        return len(self.of_kind("pretrain"))

    @property
    def labelled_alike(self) -> dict[tuple[str, ...], list[int]]:
        """The labelled patients that several folds train with, and which folds these are."""
        folds: dict[tuple[str, ...], set[int]] = {}
        for stage in self.of_kind("finetune"):
            folds.setdefault(tuple(stage.node.spec["labelled"]), set()).add(stage.spec.fold)
        return {patients: sorted(of) for patients, of in folds.items() if len(of) > 1}

    def of_kind(self, kind: str) -> list[PlannedStage]:
        """The stages of a kind, in order."""
        return [stage for stage in self.stages.values() if stage.node.kind == kind]


def draw_graph(specs: Sequence[RunSpec], cases: Sequence[PreparedCase], root: Path | None) -> Graph:
    """Draws the graph of runs on one dataset.

    Raises:
        RequestError: if a fold cannot be made.
        AuditError: rule 1, if a patient would be trained on and tested, under whatever name.
    """
    stages: dict[str, PlannedStage] = {}
    asked, seen, sound = 0, set[str](), set[Split]()
    for spec in specs:
        run = Run(spec, cases, root)
        if run.split not in sound:
            audit.check_split(run.split)
            audit.check_hearts(run.cases, run.split)
            sound.add(run.split)
        nodes = nodes_of(run)
        if nodes[-1].key in seen:
            continue
        seen.add(nodes[-1].key)
        asked += sum(node.kind == "pretrain" for node in nodes)
        variant = spec.variant()
        for node in nodes:
            stages.setdefault(node.key, PlannedStage(node, spec, variant)).runs += 1
    return Graph(stages, asked, len({patient for split in sound for patient in split.test}))


def state_of(store: Path, kind: str, key: str) -> State:
    """Whether a stage is in the store, has failed, or is still to be made."""
    if (home_of(store, kind) / key / MARKER).is_file():
        return "done"
    return "failed" if read_failure(home_of(store, kind), key) else "to do"
