"""Public names, each with the module that is imported when it is first used."""

from .kit import CHECKS as CHECKS
from .kit import CheckResult as CheckResult
from .kit import ConformityReport as ConformityReport
from .kit import assert_conforms as assert_conforms
from .kit import check_method as check_method
from .kit import find_methods as find_methods
from .phantoms import make_case as make_case
