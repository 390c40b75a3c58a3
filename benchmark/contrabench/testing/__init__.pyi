"""Public names, each with the module that is imported when it is first used."""

from .backbone_kit import BACKBONE_CHECKS as BACKBONE_CHECKS
from .backbone_kit import check_backbone as check_backbone
from .kit import CHECKS as CHECKS
from .kit import assert_conforms as assert_conforms
from .kit import check_method as check_method
from .kit import find_methods as find_methods
from .phantoms import make_case as make_case
from .report import CheckResult as CheckResult
from .report import ConformityReport as ConformityReport
