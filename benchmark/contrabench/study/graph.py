"""The stages of a whole study, each once, with what waits for what and what is done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from contrabench.data.prepare import PreparedCase
from contrabench.sealed import SEAL
from contrabench.store.failures import Failure, read_failure
from contrabench.store.stages import home_of
from contrabench.study.blueprint import Blueprint
from contrabench.study.nodes import Node, nodes_of
from contrabench.study.request import Plan
from contrabench.study.resolve import Request

State = Literal["done", "failed", "to do"]


@dataclass(frozen=True)
class Task:
    """A stage of a study, with the first run that needs it.

    Attributes:
        node: the stage.
        request: of the run, from which any worker draws it up again.
        title: what it is, in words.
        runs: how many runs of the study rest on it.
    """

    node: Node
    request: Request
    title: str
    runs: int

    @property
    def key(self) -> str:
        """Of the stage's output."""
        return self.node.key


@dataclass(frozen=True)
class Graph:
    """All stages of a study.

    Attributes:
        tasks: by key, each after its inputs.
        pretrainings_asked: what the runs would take if each pre-trained for itself.
    """

    tasks: dict[str, Task]
    pretrainings_asked: int

    @property
    def runs(self) -> int:
        """Number of runs."""
        return self.count("runs")

    @property
    def pretrainings(self) -> int:
        """Number of pre-training stages that are really made."""
        return self.count("pretrain")

    def count(self, kind: str) -> int:
        """Number of stages of a kind."""
        return sum(task.node.kind == kind for task in self.tasks.values())


def draw_graph(pairs: Iterable[tuple[Request, Plan]], cases: Sequence[PreparedCase]) -> Graph:
    """Draws the graph of a study.

    Args:
        pairs: each run as it was asked for and resolved, all on one dataset.
        cases: its prepared cases.

    Raises:
        RequestError: if a fold cannot be made.
    """
    tasks: dict[str, Task] = {}
    needed: dict[str, int] = {}
    asked, seen = 0, set()
    for request, plan in pairs:
        nodes = nodes_of(Blueprint(plan, cases))
        if nodes[-1].key in seen:
            continue
        seen.add(nodes[-1].key)
        asked += sum(node.kind == "pretrain" for node in nodes)
        for node in nodes:
            needed[node.key] = needed.get(node.key, 0) + 1
            tasks.setdefault(node.key, Task(node, request, _title(node, plan), 0))
    counted = {
        key: Task(task.node, task.request, task.title, needed[key]) for key, task in tasks.items()
    }
    return Graph(counted, asked)


def _title(node: Node, plan: Plan) -> str:
    """A stage in words: its kind, the method, and what tells it from its sisters."""
    spec = plan.spec
    place = f"fold {spec.fold}"
    if node.kind != "pretrain" or node.spec["labelled"] is not None:
        place = f"{spec.labels}, {place}, draw {spec.draw}"
    if spec.seeds.init:
        place += f", seed {spec.seeds.init}"
    words = {"finetune": "fine-tune", "evaluate": "evaluate", "runs": "rows of"}
    what = f"pre-train {node.name} of" if node.kind == "pretrain" else words[node.kind]
    return f"{what} {plan.variant()}: {place}"


def state_of(store: Path, kind: str, key: str) -> State:
    """Whether a stage is in the store, has failed, or is still to be made."""
    home = home_of(store, kind)
    if (home / key / SEAL).is_file():
        return "done"
    return "failed" if failure_of(store, kind, key) else "to do"


def failure_of(store: Path, kind: str, key: str) -> Failure | None:
    """Why a stage failed when it was last tried, or None."""
    return read_failure(home_of(store, kind), key)
