"""`bench study`: the whole comparison from one command, to be stopped and continued at will."""

from __future__ import annotations

from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from contrabench.cli.common import JsonOption, console, examples, write_json, writing
from contrabench.cli.options import MACHINE
from contrabench.cli.study_options import StudyArguments, takes_study
from contrabench.cli.study_view import StudyView, headline
from contrabench.errors import RequestError, RunError
from contrabench.text import counted

if TYPE_CHECKING:
    from rich.console import Console

    from contrabench.contracts.executor import Executor
    from contrabench.study.scheduler import Board
    from contrabench.study.session import Session

STARTING_FILE = Path("study.toml")


class ExecutorName(StrEnum):
    """Where the stages are made."""

    local = "local"
    ray = "ray"


class StudyGroup(TyperGroup):
    """`bench study FILE` and `bench study --methods ...` run; `bench study init` writes a file."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts the name of the usual command where none is given."""
        if not args or args[0] not in self.commands:
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Leaves that name out of the usage line."""
        name, command, rest = super().resolve_command(ctx, args)
        return ("" if name == "run" else name), command, rest


app = typer.Typer(
    cls=StudyGroup, help="Run a whole comparison: methods x labels x draws x folds x seeds."
)


@app.command(
    "run",
    hidden=True,
    epilog=examples(
        "bench study --methods mmgl,simclr --labels 10%,20%,40% --budget quick",
        "bench study --methods all --exclude densecl --labels 10% --workers 2 --threads 1",
        "bench study study.toml --executor ray --address head:6379",
    ),
)
@takes_study
def run(
    asked: StudyArguments,
    *,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run failed stages again.")
    ] = False,
    executor: Annotated[
        ExecutorName,
        typer.Option(help="Processes of this machine, or a Ray cluster.", rich_help_panel=MACHINE),
    ] = ExecutorName.local,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Ray cluster; without it one is started here.",
            rich_help_panel=MACHINE,
        ),
    ] = None,
    gpu_share: Annotated[
        float,
        typer.Option(
            min=0.01, max=1.0, help="Share of a GPU for a stage on Ray.", rich_help_panel=MACHINE
        ),
    ] = 1.0,
    json: JsonOption = False,
) -> None:
    """Run methods x labels x draws x folds x seeds as one plan whose shared parts run once.

    Stop it at any moment and give the same command again: it goes on where it was.
    """
    from contrabench.progress import ConsoleReporter
    from contrabench.study.forecast import learned

    screen = console(stderr=json)
    reporter = ConsoleReporter(screen)
    with ExitStack() as stack:
        if executor is ExecutorName.ray:
            from contrabench.study.executors.ray import RayExecutor

            cluster = RayExecutor(address, asked.threads or 1, gpu_share, asked.devices)
            crew: Executor = cluster
            stack.callback(crew.close)
            runtime = asked.cluster_runtime(cluster.has_gpus())
            session = asked.session(runtime, reporter)
        else:
            if address is not None:
                raise RequestError("--address is that of a Ray cluster; add --executor ray")
            runtime = asked.runtime()
            session = asked.session(runtime, reporter)
            crew = _local(session, asked.slots(runtime))
            stack.callback(crew.close)
        for line in headline(session):
            reporter.line(line)
        board = session.survey(retry_failed)
        view = StudyView(session, board, screen, crew, learned(session))
        with view.open():
            stopped = session.run(board, crew, view)
    if json:
        write_json(_as_json(session, board, stopped))
    else:
        _conclude(screen, session, board)
    _end(board, stopped)


@app.command("init", epilog=examples("bench study init", "bench study init ablation.toml"))
def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where it goes.")] = STARTING_FILE,
) -> None:
    """Write a study with comments, to make your own of."""
    template = Path(__file__).parents[1] / "templates" / "study.toml"
    text = template.read_text(encoding="utf-8")
    with writing(file, "another place"):
        try:
            with file.open("x", encoding="utf-8") as target:
                target.write(text)
        except FileExistsError:
            raise RequestError(
                f"{file} exists already and is left as it is; choose another name"
            ) from None
    for line in (f"{file} is written. Next:", f"  bench plan {file}", f"  bench study {file}"):
        console().print(line, soft_wrap=True)


def _local(session: Session, workers: int) -> Executor:
    """Worker processes, each with a GPU of its own where there are GPUs."""
    from contrabench.study.executors.local import LocalExecutor
    from contrabench.study.status import study_folder

    environments: list[dict[str, str]] = [{} for _ in range(workers)]
    if session.runtime.device == "cuda":
        import torch

        gpus, share = torch.cuda.device_count(), session.runtime.devices
        environments = [
            {"CUDA_VISIBLE_DEVICES": ",".join(str((n * share + i) % gpus) for i in range(share))}
            for n in range(workers)
        ]
    return LocalExecutor(environments, study_folder(session.store, session.spec) / "workers.log")


def _conclude(screen: Console, session: Session, board: Board) -> None:
    """What was done, what failed and why, and what to do next."""
    from contrabench.study.graph import failure_of

    count = board.count
    words = [f"{counted(count('done'), 'stage')} made", f"{count('cached')} served from the store"]
    words += [f"{count('failed')} failed"] if count("failed") else []
    words += [f"{count('blocked')} not tried because of that"] if count("blocked") else []
    screen.print(f"{', '.join(words)}.", soft_wrap=True)
    for task in board.failed:
        failure = failure_of(session.store, task.node.kind, task.key)
        where = f"\n  log: {failure.log}" if failure and failure.log.is_file() else ""
        screen.print(f"failed: {task.title}: {board.reasons[task.key]}{where}", soft_wrap=True)
    if board.failed:
        screen.print("Run failed stages again with --retry-failed.")
    if board.complete:
        shown = "" if str(session.store) == "contrabench-runs" else f" --store {session.store}"
        screen.print(f"All rows are there: bench report{shown}", soft_wrap=True)


def _end(board: Board, stopped: str) -> None:
    """Ends with the code of a failure, of an interrupt, or with none.

    Raises:
        RunError: if a stage has failed or the disk is full.
        KeyboardInterrupt: if the user stopped the study.
    """
    if stopped == "interrupted":
        raise KeyboardInterrupt
    if stopped:
        raise RunError(stopped)
    if board.failed:
        raise RunError(
            f"{len(board.failed)} of {len(board.status)} stages failed; all that does not rest on "
            "them is done"
        )


def _as_json(session: Session, board: Board, stopped: str) -> dict[str, Any]:
    from contrabench.study.status import study_id

    return {
        "study": study_id(session.spec),
        "store": str(session.store),
        "complete": board.complete,
        "stopped": stopped or None,
        "made": board.count("done"),
        "cached": board.count("cached"),
        "pretrainings": session.graph.pretrainings,
        "failed": [
            {"key": task.key, "title": task.title, "reason": board.reasons[task.key]}
            for task in board.failed
        ],
        "runs": [task.key for task in session.graph.tasks.values() if task.node.kind == "runs"],
    }
