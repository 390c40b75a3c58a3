"""The conformance kit: does a method keep the contract? For authors of plug-ins.

    import pytest
    from contrabench.testing import CHECKS, assert_conforms

    @pytest.mark.parametrize("check", CHECKS)
    def test_conforms(check):
        assert_conforms("my_method.py", check)

On the command line the same is `bench methods check my_method.py`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "CHECKS": "contrabench.testing.checks",
    "Report": "contrabench.testing.report",
    "Result": "contrabench.testing.report",
    "assert_conforms": "contrabench.testing.conform",
    "check_method": "contrabench.testing.conform",
    "find_methods": "contrabench.testing.find",
    "make_case": "contrabench.testing.cases",
}

if TYPE_CHECKING:
    from contrabench.testing.cases import make_case
    from contrabench.testing.checks import CHECKS
    from contrabench.testing.conform import assert_conforms, check_method
    from contrabench.testing.find import find_methods
    from contrabench.testing.report import Report, Result

__all__ = [
    "CHECKS",
    "Report",
    "Result",
    "assert_conforms",
    "check_method",
    "find_methods",
    "make_case",
]


def __getattr__(name: str) -> Any:
    """Imports the module that holds a public name when the name is first used."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'contrabench.testing' has no attribute '{name}'")
    return getattr(importlib.import_module(home), name)
