"""The three registries of the project and their decorators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contrabench.registry import Registry

if TYPE_CHECKING:
    from contrabench.data.contract import Dataset
    from contrabench.method import Method
    from contrabench.report import ReportFormat

methods: Registry[type[Method]] = Registry("method", "contrabench.methods")
datasets: Registry[type[Dataset]] = Registry("dataset", "contrabench.datasets")
reports: Registry[type[ReportFormat]] = Registry("report format", "contrabench.reports")

register_method = methods.register
register_dataset = datasets.register
register_report = reports.register
