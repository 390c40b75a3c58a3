"""One lazy registry; methods, datasets, report formats, backbones and executors are its instances.

Plug-ins come from three places: the submodules of a content package (the built-ins),
packaging entry points of installed distributions, and files given by path. Nothing is
imported before it is asked for, and a plug-in that fails to import is listed with its
reason and hurts nobody else.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from contrabench.contracts import discovery
from contrabench.errors import RequestError
from contrabench.text import did_you_mean, one_line

if TYPE_CHECKING:
    from contrabench.contracts.backbone import Backbone
    from contrabench.contracts.dataset import Dataset
    from contrabench.contracts.executor import Executor
    from contrabench.contracts.method import Method
    from contrabench.contracts.report import ReportFormat


T = TypeVar("T")
C = TypeVar("C")

RESERVED = "all"
"""The word by which the command line asks for every name."""


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A plug-in as the listings show it.

    Attributes:
        name: registered name; of a file that failed before it registered one, its stem.
        origin: "built-in", a distribution with its version, or a file.
        value: the plug-in's class, or None where it cannot be used.
        error: why it cannot be used, in one line.
    """

    name: str
    origin: str
    value: T | None = None
    error: str | None = None


@dataclass(frozen=True)
class _Registration(Generic[T]):
    """A registered class with the place of its registration."""

    value: T
    module: str
    qualname: str
    file: str
    line: int | None = None

    @property
    def place(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"

    def again(self, other: _Registration[T]) -> bool:
        """Whether the other is this one after a reload, or an edit in a notebook."""
        if self.qualname != other.qualname:
            return False
        return self.module == other.module or self.file == other.file


class Registry(Generic[T]):
    """Names and classes of one kind of plug-in.

    Attributes:
        kind: the word for messages, e.g. "method".

    Args:
        kind: as above.
        package: dotted name of the content package.
        group: of the entry points.
    """

    def __init__(self, kind: str, package: str, group: str | None = None) -> None:
        self.kind = kind
        self._package = package
        self._group = package if group is None else group
        self._registered: dict[str, _Registration[T]] = {}
        self._collisions: dict[str, str] = {}
        self._failed: dict[tuple[str, str], Entry[T]] = {}
        self._distributions: dict[str, str] = {}
        # Held while the dictionaries change, never during an import: another thread may
        # hold that module's import lock and wait for this one.
        self._lock = Lock()

    def register(self, name: str) -> Callable[[C], C]:
        """Returns a class decorator that registers a plug-in under a name.

        Args:
            name: lower-case letters, digits, `-`, `_` and `.`; for a built-in, the name of
                its file.

        Raises:
            RequestError: if the name cannot be used or another plug-in has it, or if the
                class is incomplete.
        """
        frame = sys._getframe(1)
        file, line = frame.f_code.co_filename, frame.f_lineno

        def decorate(value: C) -> C:
            self._add(name, value, file, line)
            return value

        return decorate

    def get(self, name: str) -> T:
        """Returns a plug-in by name and imports no more than that needs.

        Raises:
            RequestError: if there is none of that name, several, or one that cannot be
                imported.
        """
        loose = discovery.load_all()
        stem = name.replace("-", "_")
        if stem in self._stems():
            self._import(stem)
        self._load_points(name)
        found = [entry for entry in self._known(loose) if entry.name == name]
        if not found:
            found = [entry for entry in self.entries() if entry.name == name]
        for entry in found:
            if entry.error is not None:
                raise RequestError(
                    f"{self.kind} '{name}' ({entry.origin}) cannot be used: {entry.error}"
                )
        if not found or found[0].value is None:
            raise RequestError(self._unknown(name))
        return found[0].value

    def names(self) -> list[str]:
        """The sorted names of all plug-ins that can be used."""
        return [entry.name for entry in self.entries() if entry.error is None]

    def entries(self) -> list[Entry[T]]:
        """All plug-ins sorted by name, those that cannot be used among them."""
        loose = discovery.load_all()
        for stem in self._stems():
            self._import(stem)
        self._load_points()
        return self._known(loose)

    def _add(self, name: str, value: Any, file: str, line: int | None = None) -> None:
        """Registers a class, or raises an error that names both sides of a collision."""
        _check(self.kind, name, value)
        new = _Registration(cast(T, value), value.__module__, value.__qualname__, file, line)
        with self._lock:
            old = self._registered.get(name)
            if old is not None and not old.again(new):
                message = (
                    f"two {self.kind}s are called '{name}': {self._origin(old, full=True)} and "
                    f"{self._origin(new, full=True)}; rename or remove one of them"
                )
                self._collisions[name] = message
                raise RequestError(message)
            self._registered[name] = new

    def _stems(self) -> list[str]:
        """Names of the modules in the content package."""
        package = importlib.import_module(self._package)
        names = (module.name for module in pkgutil.iter_modules(package.__path__))
        return sorted(name for name in names if not name.startswith("_"))

    def _import(self, stem: str) -> None:
        """Imports one built-in and records why it fails, if it does."""
        module = f"{self._package}.{stem}"
        try:
            importlib.import_module(module)
        except (Exception, SystemExit) as error:
            self._failed[module, stem] = Entry(stem, "built-in", error=one_line(error))
        else:
            self._failed.pop((module, stem), None)

    def _load_points(self, name: str | None = None) -> None:
        """Loads the entry points of a name, or all."""
        for point in entry_points(group=self._group):
            if name is None or point.name == name:
                self._load_point(point)

    def _load_point(self, point: EntryPoint) -> None:
        """Loads one entry point; what its module registers itself is not added again."""
        dist = point.dist
        origin = f"{dist.name} {dist.version}" if dist else point.value
        self._distributions[point.module.partition(".")[0]] = origin
        try:
            value = point.load()
            known = any(old.value is value for old in self._registered.values())
            if not known and not isinstance(value, ModuleType):
                self._add(point.name, value, _file_of(point.module))
        except (Exception, SystemExit) as error:
            self._failed[point.module, point.name] = Entry(
                point.name, origin, error=one_line(error)
            )
        else:
            self._failed.pop((point.module, point.name), None)

    def _known(self, loose: list[discovery.PluginError]) -> list[Entry[T]]:
        """What has been registered or has failed so far."""
        broken = dict(self._failed)
        for fault in loose:
            stem = fault.module.rpartition(".")[2]
            broken[fault.module, stem] = Entry(stem, str(fault.path), error=fault.reason)
        # A file may register a class and fail further down: then the class has no module
        # that a worker could import.
        unfinished = {
            module: entry.error
            for (module, _), entry in broken.items()
            if module not in sys.modules
        }
        known: list[Entry[T]] = []
        for name, item in list(self._registered.items()):
            error = self._collisions.get(name) or unfinished.get(item.module)
            value = item.value if error is None else None
            known.append(Entry(name, self._origin(item), value, error))
        reported = {(entry.name, entry.error) for entry in known}
        known += [entry for entry in broken.values() if (entry.name, entry.error) not in reported]
        return sorted(known, key=lambda entry: (entry.name, entry.error is not None))

    def _origin(self, item: _Registration[T], full: bool = False) -> str:
        """Where a plug-in comes from, as a short word or with the line of its decorator."""
        if item.module.startswith(f"{self._package}."):
            word = "built-in"
        else:
            word = self._distributions.get(item.module.partition(".")[0], item.place)
        return word if word == item.place or not full else f"{word} ({item.place})"

    def _unknown(self, name: str) -> str:
        """The message for a name that nobody registered."""
        entries = self.entries()
        usable = [entry.name for entry in entries if entry.error is None]
        hint = did_you_mean(name, usable, most=3)
        listing = ", ".join(usable) or "none"
        message = f"there is no {self.kind} '{name}'; {hint}there are: {listing}"
        broken = [f"{entry.name} ({entry.error})" for entry in entries if entry.error]
        return f"{message}. Not usable: {'; '.join(broken)}" if broken else message


def _check(kind: str, name: str, value: Any) -> None:
    """Raises RequestError if a name cannot be typed in a list or a class is incomplete."""
    plain = name.replace("-", "").replace("_", "").replace(".", "")
    if not (plain.isascii() and plain.isalnum() and name == name.lower()) or name == RESERVED:
        raise RequestError(
            f"'{name}' cannot be the name of a {kind}; use lower-case letters, digits, '-', '_' "
            f"and '.', and not the word '{RESERVED}'"
        )
    if not inspect.isclass(value):
        raise RequestError(f"{kind} '{name}' is registered as {value!r}; register a class")
    missing = sorted(getattr(value, "__abstractmethods__", ()))
    if not hasattr(value, "info"):
        missing.append("info")
    if missing:
        raise RequestError(
            f"{kind} '{name}': class {value.__name__} does not define {', '.join(missing)}"
        )


def _file_of(module: str) -> str:
    """The file of an imported module, or its name where it has none."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return str(Path(file)) if file else module


methods: Registry[type[Method]] = Registry("method", "contrabench.methods")
datasets: Registry[type[Dataset]] = Registry("dataset", "contrabench.datasets")
reports: Registry[type[ReportFormat]] = Registry("report format", "contrabench.reports")

backbones: Registry[type[Backbone]] = Registry(
    "backbone", "contrabench.model.backbones", "contrabench.backbones"
)
executors: Registry[type[Executor]] = Registry(
    "executor", "contrabench.study.executors", "contrabench.executors"
)

REGISTRIES: tuple[Registry[Any], ...] = (methods, datasets, reports, backbones, executors)

register_method = methods.register
register_dataset = datasets.register
register_report = reports.register
register_backbone = backbones.register
register_executor = executors.register
