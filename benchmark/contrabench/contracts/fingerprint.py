"""A hash of a plug-in's code that comments, docstrings and formatting do not change.

In the key of every stage: edit a method or a loss it is made of, and results are computed anew.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from importlib.machinery import PathFinder
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import NamedTuple

from contrabench.contracts import reads
from contrabench.contracts.discovery import PACKAGE as LOOSE
from contrabench.errors import RequestError

CONTENT = (
    "contrabench.methods",
    "contrabench.datasets",
    "contrabench.reports",
    "contrabench.model.backbones",
    "contrabench.model.losses",
    "contrabench.evaluation.further",
    LOOSE,
)
ENGINE = "contrabench"
OBJECTIVES = "contrabench.objectives"
OBJECTIVES_FOLDER = Path(__file__).parents[1] / "objectives"


# A class stays as it was imported, whatever becomes of its file: it is read once.
@lru_cache(maxsize=1024)
def fingerprint(cls: type) -> str:
    """Hashes the source of a plug-in's class to 16 hexadecimal digits, the same on every machine.

    A file is hashed as it is and a package with all its modules; so are the plug-ins that it
    inherits from, and every module outside of the installed libraries that an import statement
    anywhere in that code names, at any remove. Those of `contrabench.objectives` are among them.
    Nothing else of the engine is: its changes are told by `PROTOCOL_VERSION`. What the code read
    while it was imported, files and variables of the environment, is in the hash too.
    RequestError if the class has no source, for instance when made by `exec`.
    """
    # Every plug-in has `info`, and no base class of the engine or of a library does.
    plugins = [base for base in cls.__mro__ if base is cls or hasattr(base, "info")]
    code: dict[str, _Source] = {}
    for plugin in plugins:
        code.update(_code(plugin))
    units = {_unit(plugin.__module__) for plugin in plugins}
    code.update(_reached(code.values(), lambda name: _helper(name, units)))
    code.update(_reached(code.values(), _objective))
    state = hashlib.sha256()
    for name in sorted(code):
        state.update(f"{name}\0{code[name].text}\0".encode())
    for line in reads.at_import([one.file for one in code.values() if one.file]):
        state.update(f"{line}\0".encode())
    return state.hexdigest()[:16]


def reached_files(modules: Mapping[str, Path]) -> set[Path]:
    """The files of plug-ins by module, a package with all of its own, and those that they import.

    As in `fingerprint`, at any remove and outside of the installed libraries; those of the engine
    are not among them. Nothing is imported to find them.
    """
    code: dict[str, _Source] = {}
    for name, file in modules.items():
        whole = file.parent.rglob("*.py") if file.name == "__init__.py" else [file]
        code |= {f"{name}/{one}": _source(one, _home(name, file, one)) for one in whole}
    code |= _reached(list(code.values()), lambda name: _helper(name, modules))
    return {Path(one.file) for one in code.values()}


def _home(module: str, file: Path, part: Path) -> str:
    """The package in which a file of a module lies."""
    if file.name != "__init__.py":
        return module.rpartition(".")[0]
    return ".".join((module, *part.parent.relative_to(file.parent).parts))


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
    file: str = ""


def _source(content: str | Path, package: str) -> _Source:
    """Takes a module of a package apart; what is no Python counts byte by byte."""
    name = str(content) if isinstance(content, Path) else ""
    data = content.read_bytes() if isinstance(content, Path) else content.encode()
    try:
        text = normalised(data)
    except (SyntaxError, ValueError):
        return _Source(hashlib.sha256(data).hexdigest(), file=name)
    return _Source(text, frozenset(_imports(text, package)), name)


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


def _reached(sources: Iterable[_Source], find: Callable[[str], Path | None]) -> dict[str, _Source]:
    """Modules that sources import at any remove, as far as `find` knows the file of their name."""
    found: dict[str, _Source] = {}
    waiting = [name for source in sources for name in source.imports]
    while waiting:
        name = waiting.pop()
        if name in found or (file := find(name)) is None:
            continue
        home = name.rpartition(".")[0]
        found[name] = _source(file, name if file.name == "__init__.py" else home)
        # A package is run before what is in it.
        waiting.extend((*found[name].imports, *([home] if home else [])))
    return found


def _objective(name: str) -> Path | None:
    """The file of one of the engine's losses."""
    if not name.startswith(f"{OBJECTIVES}."):
        return None
    parts = name.removeprefix(f"{OBJECTIVES}.").split(".")
    file = OBJECTIVES_FOLDER.joinpath(*parts).with_suffix(".py")
    return file if file.is_file() else None


def _helper(name: str, units: Iterable[str]) -> Path | None:
    """The file of a module beside a plug-in or wherever Python finds it, libraries apart.

    Nothing is imported to find it. Those of the plug-ins themselves are known already.
    """
    if any(name == unit or name.startswith(f"{unit}.") for unit in units):
        return None
    top, *inside = name.split(".")
    content = next((one for one in CONTENT if name.startswith(f"{one}.")), None)
    if top in sys.stdlib_module_names or (top == ENGINE and content is None):
        return None
    origin = getattr(sys.modules.get(name), "__file__", None)
    if origin is None:
        origin = _origin(top, inside) if content is None else _beside(content, name)
    file = Path(origin or "")
    return file if file.suffix == ".py" and file.is_file() and not reads.is_library(file) else None


def _beside(content: str, name: str) -> str | None:
    """Where a plug-in's neighbour would be imported from."""
    spec = PathFinder.find_spec(name, getattr(sys.modules.get(content), "__path__", []))
    return spec.origin if spec else None


def _origin(top: str, inside: Iterable[str]) -> str | None:
    """Where a module would be imported from."""
    # A module that was never imported from a file has no specification.
    with suppress(ImportError, ValueError):
        spec, name = find_spec(top), top
        for part in inside:
            name = f"{name}.{part}"
            folders = spec.submodule_search_locations if spec else None
            spec = PathFinder.find_spec(name, folders) if folders is not None else None
        return spec.origin if spec else None
    return None


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
                found[f"{unit}/{place.as_posix()}"] = _source(file, package)
        return found
    home = unit.rpartition(".")[0]
    file = Path(getattr(module, "__file__", None) or "")
    if not file.is_file():
        return {unit: _source(_typed(cls), home)}
    return {unit: _source(file, home)}


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
