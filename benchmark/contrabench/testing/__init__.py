"""The conformance kit: does a method keep the contract? For authors of plug-ins.

    import pytest
    from contrabench.testing import CHECKS, assert_conforms

    @pytest.mark.parametrize("check", CHECKS)
    def test_conforms(check):
        assert_conforms("my_method.py", check)

On the command line the same is `bench methods check my_method.py`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contrabench.testing.conformity import CheckResult, ConformityReport
    from contrabench.testing.kit import CHECKS, assert_conforms, check_method, find_methods
    from contrabench.testing.phantoms import make_case

__all__ = [
    "CHECKS",
    "CheckResult",
    "ConformityReport",
    "assert_conforms",
    "check_method",
    "find_methods",
    "make_case",
]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used: a phantom alone needs no training loop."""
    if name not in __all__:
        raise AttributeError(f"module 'contrabench.testing' has no attribute '{name}'")
    home = {"make_case": "phantoms", "CheckResult": "conformity", "ConformityReport": "conformity"}
    return getattr(import_module(f"{__name__}.{home.get(name, 'kit')}"), name)
