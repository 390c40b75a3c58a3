"""What the commands do, in Python: `import contrabench as cb`, then `cb.run(...)`.

Every function takes what its command takes, by the names of the options (`dataset_option` is a list
of "name=value"), and gives what the command would print. It is quiet but for a bar in a notebook;
`progress` says otherwise. A long one can be interrupted, and goes on when it is called again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from contrabench.errors import RequestError, RunError
from contrabench.progress import ConsoleReporter, Reporter, Silent
from contrabench.text import did_you_mean, some

if TYPE_CHECKING:
    import pandas as pd

    from contrabench.cli.asked import Asked
    from contrabench.study.session import Session
    from contrabench.testing import ConformityReport
    from contrabench.use.network import Loaded

A = TypeVar("A", bound="Asked")
_PATHS = ("data", "store", "config")
_COUNTS = ("labels", "fold")
"""What a command line takes as words, a number among them."""


@dataclass(frozen=True)
class Done:
    """What has been run.

    Attributes:
        store: the folder of all results.
        runs: their keys.
        rows: one for each run, case and structure; distances in mm, or in voxels where no spacing
            is known.
        failed: why stages failed, by title; a study goes on without them.
    """

    store: Path
    runs: tuple[str, ...]
    rows: pd.DataFrame
    failed: dict[str, str]

    @property
    def dice(self) -> pd.Series[float]:
        """Mean Dice over patients by variant and label budget; at the uniform rate if both ran."""
        from contrabench.statistics.aggregate import macro_mean, ranking_rates

        rows = self.rows[self.rows["rates"].isin(["", ranking_rates(self.rows)])]
        groups = rows.groupby(["variant", "labels"], observed=True)
        return groups.apply(lambda part: macro_mean(part, "dice"))


@dataclass(frozen=True)
class Answer:
    """A report: its tables as frames, by name, and its sentences.

    Attributes:
        leaderboard: the first table of each label budget, one below the other.
        verdict: what is known, in sentences.
        tables: every table by its name; of several label budgets one below the other.
    """

    leaderboard: pd.DataFrame
    verdict: tuple[str, ...]
    tables: dict[str, pd.DataFrame]


def run(
    method: str, labels: str | int = "10%", *, progress: bool | None = None, **options: Any
) -> Done:
    """Pre-trains a method, fine-tunes on few labels and scores unseen patients, as `bench run`.

    `cb.run("mmgl", labels="10%", dataset="phantom")`; `fold="all"` for a cross-validation.

    Raises:
        RequestError: if it cannot be carried out as asked.
        RunError: if a stage fails.
    """
    from contrabench.cli.asked import RunArguments

    asked = _asked(RunArguments, {"method": method, "labels": labels, **options})
    done = _carried_out(asked, progress)
    if done.failed:
        raise RunError("; ".join(done.failed.values()))
    return done


def study(
    methods: str | Sequence[str],
    labels: str | int | Sequence[str | int] = "10%",
    *,
    progress: bool | None = None,
    **options: Any,
) -> Done:
    """Runs methods side by side with references and controls, as `bench study`, in this process.

    Finished stages are served from the store. RequestError if it cannot be carried out as asked;
    stages that fail are in the result.
    """
    return _carried_out(_study_arguments(methods, labels, options), progress)


def plan(
    methods: str | Sequence[str], labels: str | int | Sequence[str | int] = "10%", **options: Any
) -> pd.DataFrame:
    """The stages of a study, as `bench plan`: kind, title, state, and how many runs need each."""
    import pandas as pd

    session, _ = _session(_study_arguments(methods, labels, options), Silent())
    board = session.survey()
    lines = [
        {
            "kind": stage.node.kind,
            "title": stage.title,
            "state": board.status[key],
            "runs": stage.runs,
            "key": key,
        }
        for key, stage in session.graph.stages.items()
    ]
    return pd.DataFrame(lines).set_index("key")


def rows(store: str | Path | None = None) -> pd.DataFrame:
    """All rows of a store, an archive or a folder of archives; one a run, case and structure.

    By default of the store in which this folder's runs are kept. RequestError if there are none.
    Metrics of one's own are columns behind the others, NaN where a run was not asked for one.
    """
    from contrabench.cli.report import results_in
    from contrabench.store.rows import own_metrics

    found = results_in(_store(store)).rows
    return found.drop(columns="own_metrics").join(own_metrics(found))


def report(store: str | Path | None = None, labels: Sequence[str] = ()) -> Answer:
    """The report of a store: `cb.report().leaderboard` is a frame, `verdict` its sentences.

    Of the same places as `rows`.
    """
    import pandas as pd

    from contrabench.cli.report import results_in
    from contrabench.report.kept import kept_report

    found = kept_report(results_in(_store(store)), "bench report", labels)
    tables: dict[str, list[pd.DataFrame]] = {}
    for section in found.sections:
        for table in section.tables:
            frame = table.data.assign(Labels=section.labels or None)
            tables.setdefault(table.name, []).append(frame)
    joined = {name: pd.concat(frames, ignore_index=True) for name, frames in tables.items()}
    verdict = tuple(line for section in found.sections for line in section.verdict)
    return Answer(joined.get("leaderboard", pd.DataFrame()), verdict, joined)


def fit(
    method: str, labels: str | int = "100%", *, progress: bool | None = None, **options: Any
) -> Loaded:
    """Trains a method on everybody, as `bench fit`, and loads the network."""
    from contrabench.cli.asked import FitArguments
    from contrabench.study.fitting import fit_network
    from contrabench.study.runs import runs_of

    asked = _asked(FitArguments, {"method": method, "labels": labels, **options})
    runtime, settings = asked.runtime(), asked.settings()
    ((spec,), _) = runs_of(asked.spec(), runtime.device, runtime.precision)
    folder = fit_network(spec, *asked.roots(), settings.store, runtime, _reporter(progress))
    return load(str(folder), settings.store)


def load(run: str, store: str | Path | None = None) -> Loaded:
    """The network of a run or a fit, by its key, the beginning of it, or its folder.

    A torch module from slices to probabilities; `load(key).predict("heart.nii.gz")` is a mask.
    """
    from contrabench.use.network import Loaded
    from contrabench.use.trained import find_trained

    return Loaded(find_trained(run, _store(store)))


def check(method: str) -> ConformityReport:
    """Whether a method keeps the contract, as `bench methods check`, by its name or its file."""
    from contrabench.testing.kit import check_method, find_methods

    ((name, _),) = find_methods(method).items()
    return check_method(name, None)


def _study_arguments(
    methods: str | Sequence[str], labels: str | int | Sequence[str | int], options: dict[str, Any]
) -> Asked:
    from contrabench.cli.asked_study import StudyArguments

    asked = {"methods": methods, "labels": labels}
    words = {
        name: value if isinstance(value, str | int) else ",".join(map(str, value))
        for name, value in asked.items()
    }
    return _asked(StudyArguments, {**words, **options})


def _session(asked: Asked, reporter: Reporter) -> tuple[Session, Any]:
    runtime = asked.runtime()
    return asked.session(runtime, reporter), runtime


def _carried_out(asked: Asked, progress: bool | None) -> Done:
    """Works a study off in this process."""
    from contrabench.store.results import read_rows
    from contrabench.study.executors.in_process import InProcessExecutor

    reporter = _reporter(progress)
    session, runtime = _session(asked, reporter)
    crew = InProcessExecutor(asked.crew(runtime.device, runtime.threads), reporter=reporter)
    with closing(crew):
        board = session.survey(retry_failed=True)
        stopped = session.run(board, crew)
    if stopped:
        raise RunError(stopped)
    keys = tuple(stage.key for stage in session.graph.runs)
    found, _ = read_rows(session.store)
    failed = {stage.title: board.reasons[stage.key] for stage in board.failed}
    return Done(session.store, keys, found[found["run"].isin(keys)], failed)


def _asked(kind: type[A], options: dict[str, Any]) -> A:
    """What a command is given, from Python's arguments; RequestError for one that it hasn't."""
    known = [field.name for field in fields(kind)]
    for name in options:
        if name not in known:
            hint = did_you_mean(name, known)
            raise RequestError(f"there is no argument '{name}'; {hint}there are: {some(known, 99)}")
    given = dict(options)
    for name, value in options.items():
        if name in _PATHS and value is not None:
            given[name] = _folder(value)
        elif name in _COUNTS and isinstance(value, int):
            given[name] = str(value)
    return kind(**given)


def _store(place: str | Path | None) -> Path:
    """A place that was named, or the store that commands in this folder use."""
    from contrabench.cli.options import load_config

    return load_config().store if place is None else _folder(place)


def _folder(place: str | Path) -> Path:
    from contrabench.files import expanded

    return expanded(place)


def _reporter(progress: bool | None) -> Reporter:
    """Bars if they are wanted, or where nothing is said in a notebook."""
    from rich.console import Console

    console = Console()
    wanted = console.is_jupyter if progress is None else progress
    return ConsoleReporter(console) if wanted else Silent()
