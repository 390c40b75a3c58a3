"""One lazy registry; methods, datasets, losses, backbones and others are its instances.

Plug-ins are submodules of a content package (the built-ins), entry points of distributions, and
files given by path. Nothing is imported before it is asked for, and a plug-in that fails to
import is listed with its reason and hurts nobody else.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import pkgutil
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from contrabench.contracts import discovery, intact, reads
from contrabench.errors import RequestError
from contrabench.text import did_you_mean, one_line

if TYPE_CHECKING:
    from contrabench.contracts.backbone import Backbone
    from contrabench.contracts.dataset import Dataset
    from contrabench.contracts.executor import Executor
    from contrabench.contracts.loss import Loss
    from contrabench.contracts.method import Method
    from contrabench.contracts.metric import Metric
    from contrabench.contracts.report import ReportFormat

T = TypeVar("T")
C = TypeVar("C")

BUILT_IN = "built-in"
RESERVED = "all"
"""The word by which the command line asks for every name."""


@dataclass(frozen=True)
class Plugin(Generic[T]):
    """A plug-in as the listings show it, or, without a `value`, why it cannot be used.

    The name of a file that failed before it registered one is its stem. `origin` is "built-in", a
    distribution with its version, or a file.
    """

    name: str
    origin: str
    value: T | None = None
    error: str | None = None


@dataclass(frozen=True)
class _Registration:
    """A registered class, with the file and the place of its registration."""

    value: Any
    file: str
    place: str

    def again(self, other: _Registration) -> bool:
        """Whether the other is this one after a reload, or an edit in a notebook."""
        if self.value.__qualname__ != other.value.__qualname__:
            return False
        return self.value.__module__ == other.value.__module__ or self.file == other.file


class Registry(Generic[T]):
    """Names and classes of one kind of plug-in, in words, e.g. "method".

    `package` is the dotted name of the content package; the `group` of the entry points is named
    as it if None.
    """

    def __init__(self, kind: str, package: str, group: str | None = None) -> None:
        self.kind = kind
        self.package, self.group = package, group or package
        self._registered: dict[str, _Registration] = {}
        self._collisions: dict[str, str] = {}
        self._failed: dict[tuple[str, str], Plugin[T]] = {}
        self._distributions: dict[str, str] = {}
        # Held while the dictionaries change, never during an import: another thread may
        # hold that module's import lock and wait for this one.
        self._lock = Lock()

    def register(self, name: str) -> Callable[[C], C]:
        """A class decorator that registers a plug-in; for a built-in `name` is that of its file.

        RequestError if `name` cannot be used (a-z, digits, `-`, `_` and `.` can) or another
        plug-in has it, or if the class is incomplete.
        """
        code = sys._getframe(1)
        file, line = code.f_code.co_filename, code.f_lineno

        def decorate(value: C) -> C:
            self._add(name, value, file, f"{file}:{line}")
            return value

        return decorate

    def get(self, name: str) -> T:
        """A plug-in by name, importing what that needs; RequestError if it cannot be used."""
        for known in (partial(self._near, name), self.entries):
            found = [plugin for plugin in known() if plugin.name == name]
            for plugin in found:
                if plugin.error is not None:
                    raise RequestError(
                        f"{self.kind} '{name}' ({plugin.origin}) cannot be used: {plugin.error}"
                    )
                if plugin.value is not None:
                    return plugin.value
        raise RequestError(self._unknown(name))

    def holds(self, name: str) -> bool:
        """Whether a plug-in has a name, usable or not, with no other one imported to know it."""
        return any(plugin.name == name for plugin in self._near(name))

    def _near(self, name: str) -> list[Plugin[T]]:
        """What is known once that is imported which may have a name."""
        loose = discovery.load_all(name)
        stem = name.replace("-", "_")
        # What is imported need not be looked for.
        if f"{self.package}.{stem}" not in sys.modules and stem in self._stems():
            self._import(stem)
        self._load_points(name)
        return self._known(loose)

    def names(self) -> list[str]:
        """The sorted names of all plug-ins that can be used."""
        return [plugin.name for plugin in self.entries() if plugin.error is None]

    @property
    def has_points(self) -> bool:
        """Whether an installed distribution has plug-ins of this kind."""
        return bool(_points(self.group, tuple(sys.path)))

    @property
    def has_typed(self) -> bool:
        """Whether a class was registered that is neither a built-in nor given by path."""
        known = (f"{self.package}.", f"{discovery.PACKAGE}.")
        return any(not one.value.__module__.startswith(known) for one in self._registered.values())

    def built_ins(self) -> list[Plugin[T]]:
        """The entries of the content package, with no other plug-in imported."""
        for stem in self._stems():
            self._import(stem)
        return [plugin for plugin in self._known([]) if plugin.origin == BUILT_IN]

    def plug_ins(self) -> list[Plugin[T]]:
        """The entries given by path or by entry points, with no built-in imported for them."""
        loose = discovery.load_all()
        self._load_points()
        return [plugin for plugin in self._known(loose) if plugin.origin != BUILT_IN]

    def entries(self) -> list[Plugin[T]]:
        """All plug-ins sorted by name, those that cannot be used among them."""
        loose = discovery.load_all()
        for stem in self._stems():
            self._import(stem)
        self._load_points()
        return self._known(loose)

    def _add(self, name: str, value: Any, file: str, place: str) -> None:
        """Registers a class, or raises an error that names both sides of a collision."""
        _check(self.kind, name, value)
        new = _Registration(value, file, place)
        with self._lock:
            old = self._registered.get(name)
            if old is not None and not old.again(new):
                places = ((self._origin(item), item.place) for item in (old, new))
                sides = " and ".join(a if a == b else f"{a} ({b})" for a, b in places)
                self._collisions[name] = (
                    f"two {self.kind}s are called '{name}': {sides}; rename or remove one of them"
                )
                raise RequestError(self._collisions[name])
            self._registered[name] = new

    def _stems(self) -> list[str]:
        """Names of the modules in the content package."""
        package = importlib.import_module(self.package)
        names = (module.name for module in pkgutil.iter_modules(package.__path__))
        return sorted(name for name in names if not name.startswith("_"))

    def _import(self, stem: str) -> None:
        """Imports one built-in."""
        module = f"{self.package}.{stem}"
        self._attempt(partial(importlib.import_module, module), module, stem, BUILT_IN)

    def _load_points(self, name: str | None = None) -> None:
        """Loads the entry points of a name, or all."""
        for point in _points(self.group, tuple(sys.path)):
            if name is None or point.name == name:
                dist = point.dist
                origin = f"{dist.name} {dist.version}" if dist else point.value
                self._distributions[point.module.partition(".")[0]] = origin
                self._attempt(partial(self._load, point), point.module, point.name, origin)

    def _load(self, point: EntryPoint) -> None:
        """Loads one entry point; what its module registers itself is not added again."""
        top = point.module.partition(".")[0]
        spec = importlib.util.find_spec(top) if point.module not in sys.modules else None
        if spec is None or top == self.package.partition(".")[0]:
            value = point.load()
        else:
            for folder in spec.submodule_search_locations or ([spec.origin] if spec.origin else []):
                reads.belongs_to_plugin(Path(folder))
            with intact.importing(point.module):
                value = point.load()
        known = any(old.value is value for old in self._registered.values())
        if not known and not isinstance(value, ModuleType):
            file = getattr(sys.modules.get(point.module), "__file__", None) or point.module
            self._add(point.name, value, file, file)

    def _attempt(self, load: Callable[[], object], module: str, name: str, origin: str) -> None:
        """Loads a plug-in and records why that fails, if it does."""
        try:
            load()
        # A module may call sys.exit at import; that must not end the program.
        except (Exception, SystemExit) as error:
            self._failed[module, name] = Plugin(name, origin, error=one_line(error))
        else:
            self._failed.pop((module, name), None)

    def _known(self, loose: list[discovery.BrokenFile]) -> list[Plugin[T]]:
        """What has been registered or has failed so far."""
        broken = dict(self._failed)
        for fault in loose:
            stem = fault.module.rpartition(".")[2]
            broken[fault.module, stem] = Plugin(stem, str(fault.path), error=fault.reason)
        # A file may register a class and fail further down: then the class has no module
        # that a worker could import.
        unfinished = {
            module: plugin.error
            for (module, _), plugin in broken.items()
            if module not in sys.modules
        }
        known: list[Plugin[T]] = []
        for name, item in list(self._registered.items()):
            error = self._collisions.get(name) or unfinished.get(item.value.__module__)
            value = item.value if error is None else None
            known.append(Plugin(name, self._origin(item), value, error))
        reported = {(plugin.name, plugin.error) for plugin in known}
        known += [one for one in broken.values() if (one.name, one.error) not in reported]
        return sorted(known, key=lambda plugin: (plugin.name, plugin.error is not None))

    def _origin(self, item: _Registration) -> str:
        """Where a plug-in comes from, as a short word or with the line of its decorator."""
        module: str = item.value.__module__
        if module.startswith(f"{self.package}."):
            return BUILT_IN
        return self._distributions.get(module.partition(".")[0], item.place)

    def _unknown(self, name: str) -> str:
        """The message for a name that nobody registered."""
        entries = self.entries()
        usable = [plugin.name for plugin in entries if plugin.error is None]
        hint = did_you_mean(name, usable, most=3)
        listing = ", ".join(usable) or "none"
        file = f"{name.removesuffix('.py')}.py"
        if os.path.isfile(file):  # noqa: PTH113 - a name that no path can have is none
            hint = f"{file} lies here: add --plugin {file}; "
        message = f"there is no {self.kind} '{name}'; {hint}there are: {listing}"
        broken = [f"{plugin.name} ({plugin.error})" for plugin in entries if plugin.error]
        return f"{message}. Not usable: {'; '.join(broken)}" if broken else message


@lru_cache(maxsize=64)
def _points(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """The entry points on a path; finding them reads something of every distribution."""
    return tuple(entry_points(group=group))


def _check(kind: str, name: str, value: Any) -> None:
    """Raises RequestError if a name cannot be typed in a list or a class is incomplete."""
    if not re.fullmatch(r"[-_.]*[a-z0-9][-_.a-z0-9]*", name) or name == RESERVED:
        raise RequestError(
            f"'{name}' cannot be the name of a {kind}; use lower-case letters, digits, '-', '_' "
            f"and '.', and not the word '{RESERVED}'"
        )
    if not inspect.isclass(value):
        raise RequestError(f"{kind} '{name}' is registered as {value!r}; register a class")
    missing = sorted(getattr(value, "__abstractmethods__", ()))
    if missing := [*missing, *([] if hasattr(value, "info") else ["info"])]:
        raise RequestError(
            f"{kind} '{name}': class {value.__name__} does not define {', '.join(missing)}"
        )


methods: Registry[type[Method]] = Registry("method", "contrabench.methods")
datasets: Registry[type[Dataset]] = Registry("dataset", "contrabench.datasets")
reports: Registry[type[ReportFormat]] = Registry("report format", "contrabench.reports")

backbones: Registry[type[Backbone]] = Registry(
    "backbone", "contrabench.model.backbones", "contrabench.backbones"
)
executors: Registry[type[Executor]] = Registry(
    "executor", "contrabench.study.executors", "contrabench.executors"
)

losses: Registry[type[Loss]] = Registry("loss", "contrabench.model.losses", "contrabench.losses")
metrics: Registry[type[Metric]] = Registry(
    "metric", "contrabench.evaluation.further", "contrabench.metrics"
)

REGISTRIES: tuple[Registry[Any], ...] = (
    *(methods, datasets, reports, backbones, executors),
    *(losses, metrics),
)

register_method = methods.register
register_dataset = datasets.register
register_report = reports.register
register_backbone = backbones.register
register_executor = executors.register
register_loss = losses.register
register_metric = metrics.register
