"""The list of all checks, and the one loop that goes through it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from contrabench.testing.cost import check_cost
from contrabench.testing.declared import check_declaration, check_options, check_stages
from contrabench.testing.handed import check_hand_off
from contrabench.testing.learning import (
    check_collapse,
    check_gradients,
    check_negatives,
    check_positives,
)
from contrabench.testing.losses import check_batch_of_two, check_finite, check_inputs, check_labels
from contrabench.testing.repeat import check_deterministic, check_order, check_resume
from contrabench.testing.report import FaultError, NotApplicableError, Result
from contrabench.testing.trial import StageTrial, Trial
from contrabench.text import one_line


@dataclass(frozen=True)
class Check:
    """One thing that a method must do.

    Attributes:
        about: what it asks, in one line.
        needs: checks that must not have failed; without them it would tell their fault again.
        whole: looks at the method as a whole; None if it looks at each stage.
        stage: looks at one stage; None if it looks at the whole.
    """

    about: str
    needs: tuple[str, ...] = ()
    whole: Callable[[Trial], str | None] | None = None
    stage: Callable[[StageTrial], str | None] | None = None


CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "options": Check("every option has a valid default and a description", whole=check_options),
        "declaration": Check(
            "title, family, paper, and what was inferred are told", whole=check_declaration
        ),
        "stages": Check(
            "names, parts, views and published recipe are well formed",
            ("options",),
            whole=check_stages,
        ),
        "labels": Check(
            "masks are used where they are declared, and nowhere else",
            ("stages",),
            stage=check_labels,
        ),
        "finite": Check(
            "the loss is a finite scalar of float32, under bfloat16 autocast too",
            ("labels",),
            stage=check_finite,
        ),
        "inputs": Check(
            "other images and other weights give another loss", ("finite",), stage=check_inputs
        ),
        "batch_of_two": Check("two slices are enough", ("finite",), stage=check_batch_of_two),
        "deterministic": Check(
            "one seed gives one loss, bit for bit", ("finite",), stage=check_deterministic
        ),
        "gradients": Check(
            "a short training reaches all that is trained and changes nothing else",
            ("inputs",),
            stage=check_gradients,
        ),
        "resume": Check(
            "a training taken up again ends in the same bits",
            ("inputs", "deterministic"),
            stage=check_resume,
        ),
        "order": Check(
            "the loss does not depend on the order of the slices", ("resume",), stage=check_order
        ),
        "negatives": Check(
            "slices that all look alike cost more than slices that differ",
            ("resume",),
            stage=check_negatives,
        ),
        "collapse": Check(
            "after a short training slices can still be told apart",
            ("negatives",),
            stage=check_collapse,
        ),
        "positives": Check(
            "after a short training true pairs cost less than wrong ones",
            ("collapse",),
            stage=check_positives,
        ),
        "hand_off": Check(
            "what is handed over was trained and fits the backbone",
            ("stages",),
            whole=check_hand_off,
        ),
        "cost": Check(
            "time and memory of a step; told, never judged", ("inputs",), stage=check_cost
        ),
    }
)
"""All checks by name, in the order in which they are made."""


def run_checks(trial: Trial, method: str) -> Iterator[Result]:
    """Makes all checks of a method, one after another.

    A check whose needs have failed is skipped, so that one fault is one failure.

    Args:
        trial: the method.
        method: its name in the results.
    """
    broken: set[tuple[str, str]] = set()
    for name, check in CHECKS.items():
        for stage, look in _looks(check, trial, stages_known=("stages", "") not in broken):
            cause = next((n for n in check.needs if {(n, stage), (n, "")} & broken), None)
            if cause is not None:
                broken.add((name, stage))
                yield Result(name, "skipped", f"needs '{cause}'", "", stage, method)
                continue
            result = _made(look, name, stage, method)
            if result.status == "failed":
                broken.add((name, stage))
            yield result


def _looks(
    check: Check, trial: Trial, stages_known: bool
) -> Sequence[tuple[str, Callable[[], str | None]]]:
    """What a check has to look at: name of the stage, and the call."""
    if check.whole is not None:
        return [("", partial(check.whole, trial))]
    if check.stage is None or not stages_known or not trial.stages:
        return [("", _no_stage)]
    return [(item.stage.name, partial(check.stage, item)) for item in trial.stages]


def _no_stage() -> str | None:
    raise NotApplicableError("the method has no pre-training stage")


def _made(look: Callable[[], str | None], check: str, stage: str, method: str) -> Result:
    """Makes one check of one stage."""
    try:
        return Result(check, "passed", look() or "", "", stage, method)
    except NotApplicableError as error:
        return Result(check, "skipped", str(error), "", stage, method)
    except FaultError as error:
        return Result(check, "failed", error.reason, error.hint, stage, method)
    # A stranger's code runs here, and may raise anything.
    except Exception as error:
        return Result(check, "failed", one_line(error), f"raised in {_place(error)}", stage, method)


def _place(error: BaseException) -> str:
    """File and line of the frame that is the author's: the last one outside of torch's code."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    return f"{Path(own[-1].filename).name}, line {own[-1].lineno}"
