"""contrabench: which contrastive pre-training really helps when labels are few.

This module is what an author of a method, dataset, report format, backbone or executor imports.
Names are resolved on first use, so that importing the package costs nothing and `bench --help`
never loads torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Backbone": "contrabench.contracts.backbone",
    "BackboneInfo": "contrabench.contracts.backbone",
    "BackboneSpec": "contrabench.protocol",
    "Batch": "contrabench.contracts.views",
    "Case": "contrabench.contracts.dataset",
    "ContrabenchError": "contrabench.errors",
    "DataError": "contrabench.errors",
    "DataRecipe": "contrabench.protocol",
    "Dataset": "contrabench.contracts.dataset",
    "DatasetInfo": "contrabench.contracts.dataset",
    "Deviations": "contrabench.contracts.method",
    "Executor": "contrabench.contracts.executor",
    "ExecutorInfo": "contrabench.contracts.executor",
    "Intensity": "contrabench.contracts.views",
    "Job": "contrabench.contracts.executor",
    "Method": "contrabench.contracts.method",
    "MethodInfo": "contrabench.contracts.method",
    "NiftiDataset": "contrabench.data.reading",
    "Objective": "contrabench.contracts.objective",
    "Occlusion": "contrabench.contracts.views",
    "Optimisation": "contrabench.contracts.method",
    "Options": "contrabench.protocol",
    "Outcome": "contrabench.contracts.executor",
    "Published": "contrabench.contracts.method",
    "Report": "contrabench.contracts.report",
    "ReportFormat": "contrabench.contracts.report",
    "ReportInfo": "contrabench.contracts.report",
    "RequestError": "contrabench.errors",
    "RunError": "contrabench.errors",
    "Spatial": "contrabench.contracts.views",
    "Stage": "contrabench.contracts.method",
    "StepResult": "contrabench.contracts.objective",
    "Structure": "contrabench.contracts.dataset",
    "View": "contrabench.contracts.views",
    "ViewSpec": "contrabench.contracts.views",
    "Volume": "contrabench.contracts.dataset",
    "register_backbone": "contrabench.contracts.registry",
    "register_dataset": "contrabench.contracts.registry",
    "register_executor": "contrabench.contracts.registry",
    "register_method": "contrabench.contracts.registry",
    "register_report": "contrabench.contracts.registry",
}

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
