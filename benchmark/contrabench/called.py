"""Rooms of the engine that have the name of something that a user calls."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class _Called(ModuleType):
    """A package that is called as the function of its name in `contrabench.api`.

    Whichever is imported first, `contrabench.report` is both.
    """

    def __call__(self, *given: Any, **named: Any) -> Any:
        """Calls the function."""
        function = getattr(importlib.import_module("contrabench.api"), self.__name__.split(".")[-1])
        return function(*given, **named)


def make_called(package: str) -> None:
    """Lets an imported package be called."""
    sys.modules[package].__class__ = _Called
