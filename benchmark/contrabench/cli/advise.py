"""`bench advise`: is it worth it on these volumes? A small fixed study, and what it says."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from contrabench.cli import options, output
from contrabench.cli.asked_study import AdviseArguments
from contrabench.cli.report import (
    chosen_format,
    named_first,
    results_in,
    results_named,
    strangers_code,
    wanted,
)
from contrabench.cli.study_view import StudyView, end_of, headline, store_words
from contrabench.contracts.registry import reports
from contrabench.contracts.report import is_missing
from contrabench.errors import RequestError
from contrabench.files import expanded, write_bytes
from contrabench.progress import clock
from contrabench.text import counted

if TYPE_CHECKING:
    from contrabench.report.advice import Advice
    from contrabench.store.results import Results
    from contrabench.study.forecast import Forecast
    from contrabench.study.scheduler import Board
    from contrabench.study.session import Session

_UNASKED = 3600.0
"""Seconds that a study may take without being asked for a second time."""


@options.command(
    "bench advise hearts/",
    "bench advise hearts/ --yes --out advice.html",
    "bench advise --dataset phantom -d patients=12 --budget smoke",
    "bench advise --from contrabench-runs --dataset acdc",
)
@options.takes(AdviseArguments)
def advise(
    asked: AdviseArguments,
    *,
    existing: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RESULTS",
            help="Results that are there already, in the place of a study: a store, an archive, or "
            "a study or protocol of the store by the beginning of its id.",
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Begin without asking, however long it takes.")
    ] = False,
    out: Annotated[
        Path | None,
        options.place(
            "Also write the advice with the report behind it, as advice.html.", panel=None
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Say whether methods for unlabelled volumes are worth it on data like yours.

    Runs a small fixed study, after telling how long it takes. Stop it at any moment and give the
    same command again: it goes on where it was.
    """
    if out is not None:
        # Before the work, so that a wrong place does not cost it.
        chosen_format(None, False, out)
        with output.writing(out):
            out.parent.mkdir(parents=True, exist_ok=True)
    if existing is not None:
        _tell_existing(asked, existing, out, json)
        return
    if not asked.suffices:
        _too_few(asked, json)
        return
    runtime = asked.runtime()
    reporter = output.reporter()
    session = asked.session(runtime, reporter)
    board = session.survey(retry_failed=True)
    stopped = ""
    if not board.complete:
        expected = _expected(asked, session, board)
        if not _may_begin(expected, yes, json):
            if json:
                output.write_json({**_facts(asked, session), "expected": asdict(expected)})
            return
        stopped = _run(asked, session, board)
        if stopped:
            end_of(board, stopped)
    _conclude(asked, session, out, json)
    end_of(board, stopped)


def _too_few(asked: AdviseArguments, as_json: bool) -> None:
    """Says what there is to say without a study."""
    from contrabench.report.advice_screen import topics
    from contrabench.report.screen import WIDTH, filled
    from contrabench.stages.prepare import prepare_run
    from contrabench.study.advice import too_few, volume_words

    settings, roots = asked.settings(), asked.roots()
    cases = prepare_run(asked.run, *roots, settings.store, output.reporter())
    words = f"--dataset {asked.run.dataset}"
    words += f" --data {options.shown(asked.data)}" if asked.data else ""
    told = list(too_few(asked.held, asked.family, words))
    about = (asked.held.words, *volume_words(asked.run.open_dataset(roots[0]), cases))
    if as_json:
        output.write_json({"data": asdict(asked.held), "advice": dict(told), "methods": []})
        return
    screen = output.console()
    for text in (*filled((asked.run.dataset, *about), WIDTH), ""):
        screen.print(Text(text), soft_wrap=True)
    for line in topics(told, WIDTH):
        screen.print(Text(line.text), style=line.style or None, soft_wrap=True)


def _expected(asked: AdviseArguments, session: Session, board: Board) -> Forecast:
    """Tells what is to come, and how long it takes here."""
    from contrabench.study.forecast import forecast

    reporter = output.reporter()
    for line in (asked.held.words, *headline(session)):
        reporter.line(line)
    device = session.runtime.device
    found = forecast(session, board, asked.at_once(device), True, reporter)
    waiting = len(board.those("waiting"))
    reporter.line(
        f"to do: {counted(waiting, 'stage')}, about {clock(found.seconds)} on this machine "
        f"({device}, {counted(found.workers, 'worker')})"
        + (f", and {found.unknown} whose time could not be measured" if found.unknown else "")
    )
    return found


def _may_begin(expected: Forecast, yes: bool, as_json: bool) -> bool:
    """Whether to train: what takes long is asked for a second time, and never begun by a pipe."""
    if yes or (expected.seconds <= _UNASKED and not expected.unknown):
        return True
    reporter = output.reporter()
    if sys.stdin.isatty() and sys.stdout.isatty() and not as_json:
        try:
            return reporter.console.input("Begin? [y/N] ").strip().lower() in ("y", "yes")
        except EOFError:
            return False
    reporter.line(f"Nothing was trained. To begin: {options.USED.again('advise')} --yes")
    return False


def _run(asked: AdviseArguments, session: Session, board: Board) -> str:
    """Works off the study with local workers; returns why it stopped, or ""."""
    from contrabench.contracts.registry import executors
    from contrabench.study.forecast import learned

    kind, runtime = executors.get("local"), session.runtime
    with closing(kind(asked.crew(runtime.device, runtime.threads), kind.Options())) as crew:
        console = output.reporter().console
        view = StudyView(session, board, console, crew, learned(session))
        with view.open():
            return session.run(board, crew, view, options.USED.again("advise"))


def _facts(asked: AdviseArguments, session: Session) -> dict[str, Any]:
    """What a program wants to know beside the advice."""
    return {
        "study": session.study,
        "store": str(session.store),
        "data": asdict(asked.held),
        "spec": session.spec.model_dump(mode="json"),
    }


def _tell_existing(asked: AdviseArguments, name: str, out: Path | None, as_json: bool) -> None:
    """Tells what rows say that are there already."""
    if asked.data is not None:
        raise RequestError("DATA and --from contradict each other; give one")
    store = asked.settings().store
    results = wanted(results_named(name, store), [asked.dataset] if asked.dataset else [], ())
    place = expanded(name) if expanded(name).exists() else store
    rates = named_first(place) if place.is_dir() else "uniform"
    _tell(_Rows(results, rates, place), {"results": name}, (), out, as_json)


def _conclude(asked: AdviseArguments, session: Session, out: Path | None, as_json: bool) -> None:
    """Tells what the rows of the study say."""
    from contrabench.study.advice import spent, volume_words

    every = results_in(session.store)
    runs = {stage.key for stage in session.graph.runs}
    results = replace(every, rows=every.rows[every.rows["run"].isin(runs)])
    dataset = session.run_of(session.graph.runs[0]).dataset
    seconds = spent(session)
    held = (
        asked.held.words,
        *volume_words(dataset, session.cases),
        f"study {session.study}: {clock(seconds)} of work here",
    )
    facts = {**_facts(asked, session), "seconds": seconds}
    rates = (session.spec.rates or ("uniform",))[0]
    _tell(_Rows(results, rates, session.store), facts, held, out, as_json)


@dataclass(frozen=True)
class _Rows:
    """Rows with the rates that rank, and where they are."""

    results: Results
    rates: str
    place: Path


def _tell(
    rows: _Rows, facts: dict[str, Any], held: Sequence[str], out: Path | None, as_json: bool
) -> None:
    """Writes the advice, and its page if one is asked for."""
    from contrabench.report.advice import advise as advised
    from contrabench.report.advice_screen import advice_screen
    from contrabench.report.screen import WIDTH

    advice = advised(rows.results, rows.rates)
    if out is not None:
        _write_page(rows, advice, out)
    if as_json:
        output.write_json({**facts, **_as_json(advice)})
        return
    command = f"bench report{store_words(rows.place)}"
    foot = [f"the rows behind it: {command}", "the page: the same command with --out advice.html"]
    foot += (
        [f"train it for use: bench fit --winner{store_words(rows.place)}"]
        if advice.best and rows.place.is_dir()
        else []
    )
    screen = output.console()
    for line in advice_screen(advice, held, foot, WIDTH):
        screen.print(Text(line.text), style=line.style or None, soft_wrap=True)


def _write_page(rows: _Rows, advice: Advice, out: Path) -> None:
    """Writes the advice as the first section of the report on the same rows."""
    from contrabench.report.build import build_report
    from contrabench.report.gallery.make import make_gallery

    name = chosen_format(None, False, out)
    with strangers_code(name):
        renderer = reports.get(name)()
    draw = partial(make_gallery, rows.place, runs=rows.results.runs)
    gallery = draw if renderer.info.pictures else None
    made = build_report(rows.results, options.USED.again("advise"), (), rows.rates, gallery)
    made = replace(made, sections=(advice.section, *made.sections))
    with strangers_code(name):
        content = renderer.render(made)
    with output.writing(out):
        write_bytes(out, content if isinstance(content, bytes) else content.encode("utf-8"))
    output.reporter().line(f"wrote {options.shown(out)}")


def _as_json(advice: Advice) -> dict[str, Any]:
    """The advice for a program; what is missing is null."""
    table = advice.gains
    cells = (
        {name: None if is_missing(value) else value for name, value in row.items()}
        for row in table.data.to_dict(orient="records")
    )
    return {"best": advice.best, "advice": dict(advice.told), "methods": list(cells)}
