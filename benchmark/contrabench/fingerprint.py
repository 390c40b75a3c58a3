"""A hash of a plug-in's code that comments, docstrings and formatting do not change.

It is part of the key of every stage: edit a method, and its results are computed anew.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from pathlib import Path
from types import ModuleType

from contrabench.errors import RequestError
from contrabench.plugin_paths import PACKAGE as LOOSE

CONTENT = ("contrabench.methods", "contrabench.datasets", "contrabench.reports", LOOSE)


def fingerprint(cls: type) -> str:
    """Hashes the source of a plug-in's class.

    A built-in is hashed as its file, a file given by path together with the files beside
    it that it imports, and a package with all its modules. A plug-in that inherits from
    another one has the other's code in its hash. The engine has not: its changes are told
    by `PROTOCOL_VERSION`; nor have the libraries.

    Args:
        cls: class of a method, dataset or report format.

    Returns:
        16 hexadecimal digits, the same on every machine.

    Raises:
        RequestError: if the class has no source, for instance when made by `exec`.
    """
    # Every plug-in has `info`, and no base class of the engine or of a library does.
    plugins = [base for base in cls.__mro__ if base is cls or hasattr(base, "info")]
    code: dict[str, str] = {}
    for plugin in plugins:
        code.update(_code(plugin))
    state = hashlib.sha256()
    for name in sorted(code):
        state.update(f"{name}\0{code[name]}\0".encode())
    return state.hexdigest()[:16]


def normalised(source: str | bytes) -> str:
    """Returns Python source without comments, docstrings and formatting.

    Raises:
        SyntaxError: if the text is not Python.
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [item for item in node.body if not _is_text(item)] or [ast.Pass()]
    return ast.unparse(tree)


def _is_text(item: ast.stmt) -> bool:
    """Whether a statement is a bare string, which computes nothing."""
    return (
        isinstance(item, ast.Expr)
        and isinstance(item.value, ast.Constant)
        and isinstance(item.value.value, str)
    )


def _code(cls: type) -> dict[str, str]:
    """Normalised sources that make up a plug-in, by a name free of folders."""
    unit = _unit(cls.__module__)
    module = sys.modules.get(unit) or sys.modules[cls.__module__]
    if hasattr(module, "__path__"):
        return {
            f"{unit}/{file.relative_to(folder).as_posix()}": _read(file)
            for folder in module.__path__
            for file in Path(folder).rglob("*.py")
        }
    file = _file(module)
    if file is None:
        return {unit: normalised(_typed(cls))}
    if unit.startswith(f"{LOOSE}."):
        return {path.name: _read(path) for path in _with_neighbours(module, file.parent)}
    return {unit: _read(file)}


def _unit(module: str) -> str:
    """The module that a plug-in stands or falls with: its file or its whole package."""
    parts = module.split(".")
    depth = 3 if ".".join(parts[:2]) in CONTENT else 1
    return ".".join(parts[:depth])


def _file(module: ModuleType) -> Path | None:
    name = getattr(module, "__file__", None)
    return Path(name) if name and Path(name).is_file() else None


def _read(file: Path) -> str:
    """Normalised source; a file that is not Python source counts byte by byte."""
    data = file.read_bytes()
    try:
        return normalised(data)
    except (SyntaxError, ValueError):
        return hashlib.sha256(data).hexdigest()


def _typed(cls: type) -> str:
    """Source of a class without a file, as a notebook keeps it."""
    try:
        return inspect.cleandoc("\n" + inspect.getsource(cls))
    except (OSError, TypeError) as error:
        raise RequestError(
            f"class {cls.__qualname__} has no source, so its results could not be told from "
            "those of another version; put it in a .py file and give that with --plugin"
        ) from error


def _with_neighbours(module: ModuleType, folder: Path) -> set[Path]:
    """The file of a module and the files of its folder that it imports, at any remove."""
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        current = waiting.pop()
        file = _file(current)
        if file is None or file.parent != folder or file in found:
            continue
        found.add(file)
        for value in vars(current).values():
            home = value if isinstance(value, ModuleType) else _home(value)
            if home is not None:
                waiting.append(home)
    return found


def _home(value: object) -> ModuleType | None:
    """The module in which a class or function was defined."""
    name = getattr(value, "__module__", None)
    return sys.modules.get(name) if isinstance(name, str) else None
