"""A report that was built before from the same rows is read, and not built again.

It follows from rows and facts, from what was asked, from the code of the engine, and from what
datasets say of their options. A format writes it anew each time, from the same numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from contrabench import kept
from contrabench.contracts import registry, report
from contrabench.contracts.fingerprint import fingerprint
from contrabench.contracts.report import Report
from contrabench.errors import ContrabenchError
from contrabench.report.commands import Place, nowhere
from contrabench.report.noted import checked_by_now, told_of
from contrabench.store.results import Results

_NAME = "report"
_KIND = "is"
"""What tells an object's class in JSON; no field has this name."""
_FRAME = "frame"
_KINDS = {"object", "str", "float64", "int64", "bool"}
"""Columns of a table whose cells say all of them."""


def kept_report(
    results: Results,
    command: str,
    labels: Sequence[str] = (),
    rates: str = "uniform",
    place: Place = nowhere,
) -> Report:
    """What `build_report` gives for these arguments, kept for the next time."""
    origin = kept.hash_of(_origin(results, labels, rates, place))
    found = kept.load(_NAME, origin)
    # Whoever wrote it, what is no report is not taken for one.
    with suppress(TypeError, KeyError, ValueError, AttributeError):
        known: Report = replace(_read(found), rows=results.rows, command=command)
        return known
    from contrabench.report.build import build_report

    made = build_report(results, command, labels, rates, place=place)
    # What JSON cannot give back as it was is not kept.
    with suppress(TypeError):
        kept.save(_NAME, origin, _written(replace(made, rows=pd.DataFrame(), command="")))
    return made


def _origin(
    results: Results, labels: Sequence[str], rates: str, place: Place
) -> Iterator[bytes | str]:
    """All that a report follows from, but for the rows as such and the command."""
    yield kept.code_of()
    yield json.dumps([list(labels), rates, list(results.problems)])
    known = (results.runs[name].dropna() for name in ("protocol", "method_info"))
    specs, infos = (texts.astype(str).unique() for texts in known)
    names = {*results.rows["dataset"].unique(), *(told_of(spec).get("dataset") for spec in specs)}
    for name in sorted(str(one) for one in names if one):
        yield json.dumps([name, place(name), _code(name)])
    for info in map(told_of, infos):
        yield json.dumps(checked_by_now(info))
    for frame in (results.rows, results.runs.reset_index()):
        for column in frame:
            yield from (str(column), *_values(frame[column]))


def _code(dataset: str) -> str:
    """The hash of a dataset's code, whose defaults a command leaves out; "" if it is not there."""
    with suppress(ContrabenchError):
        return fingerprint(registry.datasets.get(dataset))
    return ""


def _values(column: pd.Series[Any]) -> tuple[str, bytes]:
    """The values of a column: categories and numbers as they lie, others as JSON."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return json.dumps(list(column.cat.categories)), column.cat.codes.to_numpy().tobytes()
    values = column.to_numpy()
    if values.dtype.kind in "biuf":
        return values.dtype.str, values.tobytes()
    return "", json.dumps(column.tolist()).encode()


# -- as JSON ---------------------------------------------------------------------------


def _written(value: Any) -> Any:
    """A report, or a part of one, as JSON; TypeError if that would lose something."""
    if isinstance(value, pd.DataFrame):
        whole = value.columns.is_unique and value.index.equals(pd.RangeIndex(len(value)))
        if not whole or {str(kind) for kind in value.dtypes} - _KINDS:
            raise TypeError("a table has more than its columns tell")
        columns = [[name, str(one.dtype), _written(tuple(one))] for name, one in value.items()]
        return {_KIND: _FRAME, "columns": columns}
    if is_dataclass(value) and not isinstance(value, type):
        inner = {field.name: _written(getattr(value, field.name)) for field in fields(value)}
        return {_KIND: type(value).__name__, **inner}
    if isinstance(value, tuple):
        return [_written(one) for one in value]
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, np.integer):
        return int(value)
    raise TypeError(f"a report holds {type(value).__name__}")


def _read(value: Any) -> Any:
    """What was written; one of the contract's classes, a table, a tuple or a plain value."""
    if isinstance(value, list):
        return tuple(map(_read, value))
    if not isinstance(value, dict):
        return value
    kind = value.pop(_KIND)
    if kind == _FRAME:
        columns = {
            name: pd.Series(list(_read(cells)), dtype=dtype, name=name)
            for name, dtype, cells in value["columns"]
        }
        return pd.DataFrame(columns)
    inner = {name: _read(one) for name, one in value.items()}
    return _CLASSES[kind](**inner)


_CLASSES: dict[str, Any] = {name: cls for name, cls in vars(report).items() if is_dataclass(cls)}
