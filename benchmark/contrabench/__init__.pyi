"""Public names, each with the module that is imported when it is first used."""

from .contracts.backbone import Backbone as Backbone
from .contracts.backbone import BackboneInfo as BackboneInfo
from .contracts.dataset import Case as Case
from .contracts.dataset import Dataset as Dataset
from .contracts.dataset import DatasetInfo as DatasetInfo
from .contracts.dataset import Structure as Structure
from .contracts.dataset import Volume as Volume
from .contracts.executor import Executor as Executor
from .contracts.executor import ExecutorInfo as ExecutorInfo
from .contracts.executor import Job as Job
from .contracts.executor import Outcome as Outcome
from .contracts.method import Deviations as Deviations
from .contracts.method import Method as Method
from .contracts.method import MethodInfo as MethodInfo
from .contracts.method import Optimisation as Optimisation
from .contracts.method import Published as Published
from .contracts.method import Stage as Stage
from .contracts.objective import Objective as Objective
from .contracts.objective import StepResult as StepResult
from .contracts.registry import register_backbone as register_backbone
from .contracts.registry import register_dataset as register_dataset
from .contracts.registry import register_executor as register_executor
from .contracts.registry import register_method as register_method
from .contracts.registry import register_report as register_report
from .contracts.report import Report as Report
from .contracts.report import ReportFormat as ReportFormat
from .contracts.report import ReportInfo as ReportInfo
from .contracts.views import Batch as Batch
from .contracts.views import Intensity as Intensity
from .contracts.views import Occlusion as Occlusion
from .contracts.views import Spatial as Spatial
from .contracts.views import View as View
from .contracts.views import ViewSpec as ViewSpec
from .data.reading import NiftiDataset as NiftiDataset
from .errors import ContrabenchError as ContrabenchError
from .errors import DataError as DataError
from .errors import RequestError as RequestError
from .errors import RunError as RunError
from .protocol import BackboneSpec as BackboneSpec
from .protocol import DataRecipe as DataRecipe
from .protocol import Options as Options

__version__: str
