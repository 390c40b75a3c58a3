"""The stages of a whole study, each once, with what waits for what and what is done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from contrabench.data.prepare import PreparedCase
from contrabench.files import MARKER
from contrabench.stages import audit
from contrabench.stages.blueprint import Blueprint
from contrabench.stages.nodes import Node, nodes_of
from contrabench.stages.request import Plan
from contrabench.store.failures import Failure, read_failure
from contrabench.store.stages import home_of
from contrabench.study.resolve import Request

State = Literal["done", "failed", "to do"]
_STEPS = {"finetune": "fine-tune", "evaluate": "evaluate", "runs": "rows of"}


@dataclass(frozen=True)
class Task:
    """A stage of a study, with the first run that needs it.

    Attributes:
        node: the stage.
        request: of the run, from which any worker draws it up again.
        variant: the method with its options, as tables name it.
        place: what tells it from its sisters: fold, labels, draw, seed.
        runs: how many runs of the study rest on it.
    """

    node: Node
    request: Request
    variant: str
    place: str
    runs: int = 0

    @property
    def key(self) -> str:
        """Of the stage's output."""
        return self.node.key

    @property
    def title(self) -> str:
        """What it is, in words."""
        return f"{self.step} {self.variant}: {self.place}"

    @property
    def step(self) -> str:
        """What is done, in words."""
        name = self.node.name
        return f"pre-train {name} of" if name else _STEPS[self.node.kind]


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
        AuditError: rule 1, if a patient would be trained on and tested.
    """
    tasks: dict[str, Task] = {}
    needed: dict[str, int] = {}
    asked, seen = 0, set()
    for request, plan in pairs:
        blueprint = Blueprint(plan, cases)
        audit.check_split(blueprint.split)
        nodes = nodes_of(blueprint)
        if nodes[-1].key in seen:
            continue
        seen.add(nodes[-1].key)
        asked += sum(node.kind == "pretrain" for node in nodes)
        for node in nodes:
            needed[node.key] = needed.get(node.key, 0) + 1
            tasks.setdefault(node.key, _task(node, request, plan))
    counted = {key: replace(task, runs=needed[key]) for key, task in tasks.items()}
    return Graph(counted, asked)


def _task(node: Node, request: Request, plan: Plan) -> Task:
    spec = plan.spec
    place = f"fold {spec.fold}"
    if node.kind != "pretrain" or node.spec["labelled"] is not None:
        place = f"{spec.labels}, {place}, draw {spec.draw}"
    if spec.seeds.init:
        place += f", seed {spec.seeds.init}"
    return Task(node, request, plan.variant(), place)


def state_of(store: Path, kind: str, key: str) -> State:
    """Whether a stage is in the store, has failed, or is still to be made."""
    home = home_of(store, kind)
    if (home / key / MARKER).is_file():
        return "done"
    return "failed" if failure_of(store, kind, key) else "to do"


def failure_of(store: Path, kind: str, key: str) -> Failure | None:
    """Why a stage failed when it was last tried, or None."""
    return read_failure(home_of(store, kind), key)
