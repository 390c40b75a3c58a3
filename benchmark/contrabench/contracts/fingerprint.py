"""A hash of a plug-in's code that comments, docstrings and formatting do not change.

In the key of every stage: edit a method or a loss it is made of, and results are computed anew.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib.util import resolve_name
from pathlib import Path
from typing import NamedTuple

from contrabench.contracts.discovery import PACKAGE as LOOSE
from contrabench.errors import RequestError

CONTENT = (
    "contrabench.methods",
    "contrabench.datasets",
    "contrabench.reports",
    "contrabench.model.backbones",
    LOOSE,
)
OBJECTIVES = "contrabench.objectives"
OBJECTIVES_FOLDER = Path(__file__).parents[1] / "objectives"


# A class stays as it was imported, whatever becomes of its file: it is read once.
@lru_cache(maxsize=1024)
def fingerprint(cls: type) -> str:
    """Hashes the source of a plug-in's class to 16 hexadecimal digits, the same on every machine.

    A built-in is hashed as its file, a file given by path together with the files beside it that
    it imports, and a package with all its modules; so are the plug-ins that it inherits from.
    Modules of `contrabench.objectives` are in the hash where an import statement anywhere in that
    code names them, and so are those that they import themselves. Nothing else of the engine is:
    its changes are told by `PROTOCOL_VERSION`; nor are the libraries. RequestError if the class
    has no source, for instance when made by `exec`.
    """
    # Every plug-in has `info`, and no base class of the engine or of a library does.
    plugins = [base for base in cls.__mro__ if base is cls or hasattr(base, "info")]
    code: dict[str, _Source] = {}
    for plugin in plugins:
        code.update(_code(plugin))
    code.update(_reached(code.values(), OBJECTIVES, OBJECTIVES_FOLDER))
    state = hashlib.sha256()
    for name in sorted(code):
        state.update(f"{name}\0{code[name].text}\0".encode())
    return state.hexdigest()[:16]


def normalised(source: str | bytes) -> str:
    """Python source without comments, docstrings and formatting; SyntaxError if it is none."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            # A bare string computes nothing.
            node.body = [
                item
                for item in node.body
                if not (
                    isinstance(item, ast.Expr)
                    and isinstance(item.value, ast.Constant)
                    and isinstance(item.value.value, str)
                )
            ] or [ast.Pass()]
    return ast.unparse(tree)


class _Source(NamedTuple):
    """Normalised code of one module.

    `imports` are the dotted names of modules, and of names inside of them, that its import
    statements give, at its top or in a function.
    """

    text: str
    imports: frozenset[str] = frozenset()


def _source(content: str | bytes, package: str) -> _Source:
    """Takes a module of a package apart; what is no Python counts byte by byte."""
    try:
        text = normalised(content)
    except (SyntaxError, ValueError):
        data = content.encode() if isinstance(content, str) else content
        return _Source(hashlib.sha256(data).hexdigest())
    return _Source(text, frozenset(_imports(text, package)))


def _imports(text: str, package: str) -> Iterator[str]:
    """Names that a source imports, and the modules that it takes them from."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (item.name for item in node.names)
        elif isinstance(node, ast.ImportFrom):
            try:
                home = resolve_name("." * node.level + (node.module or ""), package)
            # A statement that leads out of its package, which nobody has run.
            except ImportError:
                continue
            yield home
            yield from (f"{home}.{item.name}" for item in node.names)


def _reached(sources: Iterable[_Source], package: str, folder: Path) -> dict[str, _Source]:
    """Modules of one package, which lies in a folder, that sources import at any remove."""
    found: dict[str, _Source] = {}
    waiting = [name for source in sources for name in source.imports]
    while waiting:
        name = waiting.pop()
        if name in found or not name.startswith(f"{package}."):
            continue
        file = folder.joinpath(*name.removeprefix(f"{package}.").split(".")).with_suffix(".py")
        if file.is_file():
            found[name] = _source(file.read_bytes(), name.rpartition(".")[0])
            waiting.extend(found[name].imports)
    return found


def _code(cls: type) -> dict[str, _Source]:
    """Sources that make up a plug-in, by a name free of folders."""
    unit = _unit(cls.__module__)
    module = sys.modules.get(unit) or sys.modules[cls.__module__]
    found: dict[str, _Source] = {}
    if hasattr(module, "__path__"):
        for folder in map(Path, module.__path__):
            for file in folder.rglob("*.py"):
                place = file.relative_to(folder)
                package = ".".join((unit, *place.parent.parts))
                found[f"{unit}/{place.as_posix()}"] = _source(file.read_bytes(), package)
        return found
    home = unit.rpartition(".")[0]
    file = Path(getattr(module, "__file__", None) or "")
    if not file.is_file():
        return {unit: _source(_typed(cls), home)}
    found[unit] = _source(file.read_bytes(), home)
    return found | (_reached(found.values(), LOOSE, file.parent) if home == LOOSE else {})


def _unit(module: str) -> str:
    """The module that a plug-in stands or falls with: its file or its whole package."""
    for content in CONTENT:
        if module.startswith(f"{content}."):
            return f"{content}.{module.removeprefix(f'{content}.').partition('.')[0]}"
    return module.partition(".")[0]


def _typed(cls: type) -> str:
    """Source of a class without a file, as a notebook keeps it."""
    try:
        return inspect.cleandoc("\n" + inspect.getsource(cls))
    except (OSError, TypeError) as error:
        raise RequestError(
            f"class {cls.__qualname__} has no source, so its results could not be told from "
            "those of another version; put it in a .py file and give that with --plugin"
        ) from error
