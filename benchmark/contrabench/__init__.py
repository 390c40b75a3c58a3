"""contrabench: which contrastive pre-training really helps when labels are few.

This module is what an author of a method, dataset or report format imports. Names are
resolved on first use, so that importing the package costs nothing and `bench --help`
never loads torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Batch": "contrabench.views.batch",
    "Case": "contrabench.data.contract",
    "ContrabenchError": "contrabench.errors",
    "DataError": "contrabench.errors",
    "Dataset": "contrabench.data.contract",
    "DatasetInfo": "contrabench.data.contract",
    "DataRecipe": "contrabench.protocol",
    "Intensity": "contrabench.views.spec",
    "Method": "contrabench.method",
    "MethodInfo": "contrabench.method",
    "Objective": "contrabench.objectives.base",
    "Occlusion": "contrabench.views.spec",
    "Optimisation": "contrabench.method",
    "Options": "contrabench.protocol",
    "Published": "contrabench.method",
    "ReportFormat": "contrabench.report",
    "RequestError": "contrabench.errors",
    "RunError": "contrabench.errors",
    "Spatial": "contrabench.views.spec",
    "Stage": "contrabench.method",
    "StepResult": "contrabench.objectives.base",
    "Structure": "contrabench.data.contract",
    "ViewSpec": "contrabench.views.spec",
    "Volume": "contrabench.data.contract",
    "register_dataset": "contrabench.catalogue",
    "register_method": "contrabench.catalogue",
    "register_report": "contrabench.catalogue",
}

if TYPE_CHECKING:
    from contrabench.catalogue import register_dataset, register_method, register_report
    from contrabench.data.contract import Case, Dataset, DatasetInfo, Structure, Volume
    from contrabench.errors import ContrabenchError, DataError, RequestError, RunError
    from contrabench.method import Method, MethodInfo, Optimisation, Published, Stage
    from contrabench.objectives.base import Objective, StepResult
    from contrabench.protocol import DataRecipe, Options
    from contrabench.report import ReportFormat
    from contrabench.views.batch import Batch
    from contrabench.views.spec import Intensity, Occlusion, Spatial, ViewSpec

__all__ = [
    "Batch",
    "Case",
    "ContrabenchError",
    "DataError",
    "DataRecipe",
    "Dataset",
    "DatasetInfo",
    "Intensity",
    "Method",
    "MethodInfo",
    "Objective",
    "Occlusion",
    "Optimisation",
    "Options",
    "Published",
    "ReportFormat",
    "RequestError",
    "RunError",
    "Spatial",
    "Stage",
    "StepResult",
    "Structure",
    "ViewSpec",
    "Volume",
    "register_dataset",
    "register_method",
    "register_report",
]


def __getattr__(name: str) -> Any:
    """Imports the module that holds a public name when the name is first used."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'contrabench' has no attribute '{name}'")
    return getattr(importlib.import_module(home), name)
