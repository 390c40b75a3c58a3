"""From a study to its runs: every method, and the references that stand beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from contrabench.contracts import registry
from contrabench.contracts.method import Method
from contrabench.errors import RequestError
from contrabench.references import FULL, LONGER, REFERENCE
from contrabench.study.method_list import Entry, read_entries
from contrabench.study.resolve import Request
from contrabench.study.spec import StudySpec

_EVERY_LABEL = "100%"


@dataclass(frozen=True)
class Expanded:
    """The runs of a study.

    Attributes:
        requests: one for each run, each once; runs of one fold stand together.
        notes: what was left out and why, for the reader.
    """

    requests: tuple[Request, ...]
    notes: tuple[str, ...]


def expand(spec: StudySpec, root: Path | None) -> Expanded:
    """Lists the runs of a study.

    The references are scratch and scratch_long at every label fraction and full
    supervision, with the same folds and seeds; a method that changes fine-tuning gets a
    scratch beside it that changes it as well, or its row would mix two effects.

    Args:
        spec: the study.
        root: folder of the dataset's files, if it needs any.

    Raises:
        RequestError: for a method, option or recipe that does not exist.
    """
    entries, notes = _entries(spec)
    requests: dict[Request, None] = {}
    for fold in spec.tested:
        for seed in range(spec.seeds):
            for entry, labels, draw in _cells(spec, entries):
                requests.setdefault(_request(spec, entry, labels, fold, draw, seed, root))
    return Expanded(tuple(requests), tuple(notes))


def _entries(spec: StudySpec) -> tuple[list[Entry], list[str]]:
    """The methods of a study with its references, and what was left out of it."""
    wanted, notes = [], []
    for entry in read_entries(spec.methods, spec.exclude):
        method = registry.methods.get(entry.method)
        if spec.recipe == "published" and method.published is None and method().stages():
            text = f"{entry.method}: no published recipe is known"
            if entry.named:
                raise RequestError(f"{text}; leave it out, or run it under the common recipe")
            notes.append(f"left out: {text}")
        else:
            wanted.append(entry)
    references = [_plain(name) for name in (REFERENCE, LONGER) if name not in spec.without]
    if REFERENCE not in spec.without and any(_deep_supervision(spec, e) for e in wanted):
        references.append(replace(_plain(REFERENCE), deep_supervision=True))
    known = [Entry(entry.method) for entry in references]
    if spec.without:
        notes.append(
            f"references switched off: {', '.join(spec.without)}; every table will say that they "
            "are missing"
        )
    return [*references, *(e for e in wanted if replace(e, named=True) not in known)], notes


def _plain(name: str) -> Entry:
    """A reference as tables look for it: without deviations, whatever the study asks."""
    return Entry(name, views="axial", deep_supervision=False)


def _deep_supervision(spec: StudySpec, entry: Entry) -> bool:
    """Whether the fine-tuning of a method has deep supervision."""
    method: type[Method] = registry.methods.get(entry.method)
    for value in (entry.deep_supervision, spec.deep_supervision):
        if value is not None:
            return value
    return method.deviations.deep_supervision


def _cells(spec: StudySpec, entries: list[Entry]) -> Iterator[tuple[Entry, str, int]]:
    """Method, label fraction and draw of each run of one fold and seed."""
    for entry in entries:
        for labels in spec.labels:
            # All labels are the same in every draw.
            for draw in range(1 if labels == _EVERY_LABEL else spec.draws):
                yield entry, labels, draw
    if FULL not in spec.without:
        yield _plain(REFERENCE), _EVERY_LABEL, 0


def _request(
    spec: StudySpec, entry: Entry, labels: str, fold: int, draw: int, seed: int, root: Path | None
) -> Request:
    return Request(
        method=entry.method,
        labels=labels,
        dataset=spec.dataset,
        root=root,
        options=entry.options,
        dataset_options=_pairs(spec.dataset_options),
        budget=spec.budget,
        recipe=spec.recipe,
        views=spec.views if entry.views is None else entry.views,
        deep_supervision=(
            spec.deep_supervision if entry.deep_supervision is None else entry.deep_supervision
        ),
        folds=spec.folds,
        fold=fold,
        draw=draw,
        seed=seed,
        accumulate=spec.accumulate,
    )


def _pairs(options: Mapping[str, object]) -> tuple[str, ...]:
    """Options of a file as `name=value`, in an order of their own."""
    return tuple(f"{name}={_text(value)}" for name, value in sorted(options.items()))


def _text(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_text(item) for item in value)}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
