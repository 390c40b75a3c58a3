"""`bench` with nothing behind it: where one is, what is under way, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from contrabench import __version__
from contrabench.cli import options, output
from contrabench.cli.study_view import store_words
from contrabench.text import counted, some

if TYPE_CHECKING:
    from contrabench.study.status import StudyFile

_STUDIES = 3


def here() -> None:
    """Prints what the store holds, and the commands that come next."""
    from contrabench.store.runs import finished_runs
    from contrabench.study.status import read_studies

    store = options.load_config().store
    runs = len(finished_runs(store))
    open_studies = [study for study in read_studies(store) if not study.complete]
    screen = output.console()
    lines = [
        f"contrabench {__version__}, results in {options.shown(store)}",
        f"  {counted(runs, 'finished run')}" if runs else "  nothing is here yet",
        *_under_way(open_studies),
        "",
        "Next:",
        *_next(bool(runs), open_studies, store_words(store)),
        "",
        "All commands: bench --help",
    ]
    screen.print("\n".join(lines), soft_wrap=True)


def _under_way(studies: Sequence[StudyFile]) -> Iterator[str]:
    """The studies that are not done, the one planned last first."""
    for study in studies[:_STUDIES]:
        states = [stage.state for stage in study.stages]
        words = [f"{some(study.spec.methods)} on {study.spec.dataset}"]
        words.append(f"{states.count('done')} of {counted(len(states), 'stage')} done")
        words += [f"{states.count('failed')} failed"] if "failed" in states else []
        words.append("at work" if study.led or "running" in states else "nobody is at work")
        yield f"  study {study.study}: {', '.join(words)}"
    if len(studies) > _STUDIES:
        yield f"  and {len(studies) - _STUDIES} more under way: bench status"


def _next(has_runs: bool, studies: Sequence[StudyFile], place: str) -> Iterator[str]:
    """Commands to paste, the likeliest first, with what they are for."""
    lines: list[tuple[str, str]] = []
    if studies and studies[0].led:
        lines.append((f"bench status{place}", "how far it is"))
    elif studies and studies[0].command:
        lines.append((studies[0].going_on(), "go on with it"))
    if has_runs:
        lines.append((f"bench report{place}", "the answer"))
        lines.append((f"bench report{place} --out report.html", "as a page"))
    else:
        lines.append(("bench run --method mmgl --labels 10%", "four minutes, on generated hearts"))
        lines.append(("bench doctor --dataset nifti --data mine/", "are your files read rightly?"))
        lines.append(("bench methods", "what there is to choose from"))
    width = max(len(command) for command, _ in lines[-2:])
    yield from (f"  {command:<{width}}  {why}" for command, why in lines)
