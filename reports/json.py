"""The whole report as JSON, for a script; `contrabench/report/report.schema.json` describes it."""

from __future__ import annotations

import json
from typing import Any

from contrabench import ReportFormat, register_report
from contrabench.contracts.report import (
    DEVIATIONS,
    METHOD,
    Answer,
    Column,
    PlotData,
    Report,
    ReportInfo,
    Section,
    Table,
    is_missing,
    plain,
)
from contrabench.report.tidy import number_value

SCHEMA_VERSION = 2


@register_report("json")
class JsonReport(ReportFormat):
    """Numbers with all digits; null for what is missing."""

    info = ReportInfo(title="JSON with a schema", suffix=".json")

    def render(self, report: Report) -> str:
        """Returns one JSON object."""
        data = {
            "schema_version": SCHEMA_VERSION,
            "command": plain(report.command),
            "sections": [_section(section) for section in report.sections],
        }
        return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _section(section: Section) -> dict[str, Any]:
    return {
        "title": plain(section.title),
        "protocol": plain(section.protocol),
        "dataset": plain(section.dataset),
        "labels": plain(section.labels),
        "appendix": section.is_appendix,
        "answer": None if section.answer is None else _answer(section, section.answer),
        "verdict": [plain(line) for line in section.verdict],
        "tables": [_table(section, table) for table in section.tables],
        "notes": [plain(line) for line in section.notes],
        "methods": [] if section.plot_data is None else _methods(section.plot_data),
    }


def _answer(section: Section, answer: Answer) -> dict[str, Any]:
    """What is asked first, its two tables as all others."""
    lines = {name: getattr(answer, name) for name in ("about", "setting", "sight", "words")}
    return {
        **{name: [plain(line) for line in found] for name, found in lines.items()},
        "short": plain(answer.short),
        "basis": answer.basis,
        "tables": [_table(section, table) for table in (answer.forest, answer.board)],
    }


def _methods(found: PlotData) -> list[dict[str, Any]]:
    """What the rows of a method rest on, once for all tables of the section."""
    return [
        {
            **{key: plain(line[key]) for key in (METHOD, DEVIATIONS, "family", "role")},
            "runs": [plain(run) for run in line["runs"]],
        }
        for line in found.methods.to_dict(orient="records")
    ]


def _table(section: Section, table: Table) -> dict[str, Any]:
    return {
        "name": table.name,
        "columns": [
            {
                "name": plain(column.name),
                "kind": column.kind,
                "part": plain(column.part),
                "heading": plain(column.heading),
                "structure": plain(section.structure(column)),
                "metric": plain(column.metric),
            }
            for column in table.columns
        ],
        "rows": [
            {
                plain(column.name): _value(column, table.data[column.name].iloc[row])
                for column in table.columns
            }
            for row in range(len(table.data))
        ],
        "leader": table.leader,
        "notes": [plain(line) for line in table.notes],
    }


def _value(column: Column, value: Any) -> str | float | int | None:
    if column.kind == "text" and not is_missing(value):
        return plain(value).strip()
    return number_value(column, value)
