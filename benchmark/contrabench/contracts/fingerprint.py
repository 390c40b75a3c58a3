"""A hash of a plug-in's code that comments, docstrings and formatting do not change.

It is part of the key of every stage: edit a method, or a shared loss that it is made of, and
its results are computed anew.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType

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
    """Hashes the source of a plug-in's class, once for each class.

    A built-in is hashed as its file, a file given by path together with the files beside
    it that it imports, and a package with all its modules. A plug-in that inherits from
    another one has the other's code in its hash. The engine's losses and heads, the modules
    of `contrabench.objectives`, are in it where an import statement anywhere in that code
    names them, and so are those that they import themselves. Nothing else of the engine is:
    its changes are told by `PROTOCOL_VERSION`; nor are the libraries.

    Args:
        cls: class of a method, dataset or report format.

    Returns:
        16 hexadecimal digits, the same on every machine.

    Raises:
        RequestError: if the class has no source, for instance when made by `exec`.
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


@dataclass(frozen=True)
class _Source:
    """Code of one module.

    Attributes:
        text: normalised.
        imports: dotted names that its import statements give, at its top or in a function:
            modules, and names inside of modules.
    """

    text: str
    imports: frozenset[str] = frozenset()

    @classmethod
    def of(cls, source: str | bytes, package: str) -> _Source:
        """Takes Python source apart; what is none counts byte by byte.

        Args:
            source: of a module.
            package: that relative imports start from.
        """
        try:
            text = normalised(source)
        except (SyntaxError, ValueError):
            data = source.encode() if isinstance(source, str) else source
            return cls(hashlib.sha256(data).hexdigest())
        return cls(text, frozenset(_imports(text, package)))


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
    """Modules of one package that sources import, at any remove inside of it.

    Args:
        sources: where to begin.
        package: dotted name.
        folder: that its modules lie in.
    """
    found: dict[str, _Source] = {}
    waiting = [name for source in sources for name in source.imports]
    while waiting:
        name = waiting.pop()
        if name in found or not name.startswith(f"{package}."):
            continue
        file = folder.joinpath(*name.removeprefix(f"{package}.").split(".")).with_suffix(".py")
        if file.is_file():
            found[name] = _Source.of(file.read_bytes(), name.rpartition(".")[0])
            waiting.extend(found[name].imports)
    return found


def _code(cls: type) -> dict[str, _Source]:
    """Sources that make up a plug-in, by a name free of folders."""
    unit = _unit(cls.__module__)
    module = sys.modules.get(unit) or sys.modules[cls.__module__]
    if hasattr(module, "__path__"):
        return {
            name: source
            for folder in module.__path__
            for name, source in _package(unit, Path(folder))
        }
    home = unit.rpartition(".")[0]
    file = _file(module)
    if file is None:
        return {unit: _Source.of(_typed(cls), home)}
    own = _Source.of(file.read_bytes(), home)
    beside = _reached([own], LOOSE, file.parent) if home == LOOSE else {}
    return {unit: own, **beside}


def _package(unit: str, folder: Path) -> Iterator[tuple[str, _Source]]:
    """Every module of a package."""
    for file in folder.rglob("*.py"):
        place = file.relative_to(folder)
        package = ".".join((unit, *place.parent.parts))
        yield f"{unit}/{place.as_posix()}", _Source.of(file.read_bytes(), package)


def _unit(module: str) -> str:
    """The module that a plug-in stands or falls with: its file or its whole package."""
    for content in CONTENT:
        if module.startswith(f"{content}."):
            return f"{content}.{module.removeprefix(f'{content}.').partition('.')[0]}"
    return module.partition(".")[0]


def _file(module: ModuleType) -> Path | None:
    name = getattr(module, "__file__", None)
    return Path(name) if name and Path(name).is_file() else None


def _typed(cls: type) -> str:
    """Source of a class without a file, as a notebook keeps it."""
    try:
        return inspect.cleandoc("\n" + inspect.getsource(cls))
    except (OSError, TypeError) as error:
        raise RequestError(
            f"class {cls.__qualname__} has no source, so its results could not be told from "
            "those of another version; put it in a .py file and give that with --plugin"
        ) from error
