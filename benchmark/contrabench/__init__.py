"""contrabench: which contrastive pre-training really helps when labels are few.

This module is what an author of a method, dataset, report format, backbone or executor imports.
Names are resolved on first use, so that importing the package costs nothing and `bench --help`
never loads torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_NAMES = {
    "contracts.backbone": ("Backbone", "BackboneInfo"),
    "contracts.dataset": ("Case", "Dataset", "DatasetInfo", "Structure", "Volume"),
    "contracts.executor": ("Executor", "ExecutorInfo", "Job", "Outcome"),
    "contracts.method": (
        "Deviations",
        "Method",
        "MethodInfo",
        "Optimisation",
        "Published",
        "Stage",
    ),
    "contracts.objective": ("Objective", "StepResult"),
    "contracts.registry": (
        "register_backbone",
        "register_dataset",
        "register_executor",
        "register_method",
        "register_report",
    ),
    "contracts.report": ("Report", "ReportFormat", "ReportInfo"),
    "contracts.views": ("Batch", "Intensity", "Occlusion", "Spatial", "View", "ViewSpec"),
    "data.reading": ("NiftiDataset",),
    "errors": ("ContrabenchError", "DataError", "RequestError", "RunError"),
    "protocol": ("BackboneSpec", "DataRecipe", "Options"),
}
_HOMES = {name: f"contrabench.{home}" for home, names in _NAMES.items() for name in names}

if TYPE_CHECKING:
    from contrabench.contracts.backbone import Backbone, BackboneInfo
    from contrabench.contracts.dataset import Case, Dataset, DatasetInfo, Structure, Volume
    from contrabench.contracts.executor import Executor, ExecutorInfo, Job, Outcome
    from contrabench.contracts.method import (
        Deviations,
        Method,
        MethodInfo,
        Optimisation,
        Published,
        Stage,
    )
    from contrabench.contracts.objective import Objective, StepResult
    from contrabench.contracts.registry import (
        register_backbone,
        register_dataset,
        register_executor,
        register_method,
        register_report,
    )
    from contrabench.contracts.report import Report, ReportFormat, ReportInfo
    from contrabench.contracts.views import Batch, Intensity, Occlusion, Spatial, View, ViewSpec
    from contrabench.data.reading import NiftiDataset
    from contrabench.errors import ContrabenchError, DataError, RequestError, RunError
    from contrabench.protocol import BackboneSpec, DataRecipe, Options

__all__ = [
    "Backbone",
    "BackboneInfo",
    "BackboneSpec",
    "Batch",
    "Case",
    "ContrabenchError",
    "DataError",
    "DataRecipe",
    "Dataset",
    "DatasetInfo",
    "Deviations",
    "Executor",
    "ExecutorInfo",
    "Intensity",
    "Job",
    "Method",
    "MethodInfo",
    "NiftiDataset",
    "Objective",
    "Occlusion",
    "Optimisation",
    "Options",
    "Outcome",
    "Published",
    "Report",
    "ReportFormat",
    "ReportInfo",
    "RequestError",
    "RunError",
    "Spatial",
    "Stage",
    "StepResult",
    "Structure",
    "View",
    "ViewSpec",
    "Volume",
    "register_backbone",
    "register_dataset",
    "register_executor",
    "register_method",
    "register_report",
]


def __getattr__(name: str) -> Any:
    """Imports the module that holds a public name when the name is first used."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'contrabench' has no attribute '{name}'")
    return getattr(importlib.import_module(home), name)
