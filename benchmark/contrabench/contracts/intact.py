"""Whether the engine and torch are still what they were before plug-ins were imported.

A plug-in shares its process with the engine, and with other plug-ins: a default that it changes,
or a function that it puts in the place of one of ours, changes what all of them compute, under
the keys of before. Nothing can keep it from doing so; it is undone, and told by name.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

from contrabench.contracts import reads
from contrabench.errors import RunError

_ENGINE = "contrabench"
_CONTENT = ("methods", "datasets", "reports", "plugins", "templates")
_LIBRARIES = (
    *("torch", "torch.random", "torch.autograd", "torch.cuda", "torch.nn.functional"),
    *("torch.nn.init", "torch.optim", "numpy", "numpy.random", "random"),
)
_CLASSES = ("Tensor", "Generator", "nn.Module", "nn.Parameter", "optim.Optimizer", "optim.AdamW")
_CALLED = {"__init__", "__call__", "__post_init__", "__getitem__", "__new__"}


class ChangedError(RunError):
    """The engine or torch is not what it was before plug-ins."""


@dataclass(frozen=True)
class _Setting:
    """A global setting of torch: its value in a new process, and how it is read and put back."""

    usual: Any
    get: Callable[[], Any]
    put: Callable[[Any], object]


def _settings() -> Mapping[str, _Setting]:
    """Those that change what is computed, by the name under which torch gives them."""
    import torch
    from torch.nn.modules import module
    from torch.optim import optimizer

    def flag(holder: Any, name: str) -> tuple[Callable[[], Any], Callable[[Any], object]]:
        return lambda: getattr(holder, name), lambda value: setattr(holder, name, value)

    def hooks(holder: Any, name: str) -> tuple[Callable[[], Any], Callable[[Any], object]]:
        held = getattr(holder, name)
        return lambda: len(held), lambda _: held.clear()

    def deterministic(value: Any) -> None:
        torch.use_deterministic_algorithms(value[0], warn_only=value[1])

    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    found = {
        "torch.get_default_dtype()": _Setting(
            torch.float32, torch.get_default_dtype, torch.set_default_dtype
        ),
        "torch.get_default_device()": _Setting(
            "cpu",
            lambda: torch.get_default_device().type,
            lambda value: torch.set_default_device(None if value == "cpu" else value),
        ),
        "torch.is_grad_enabled()": _Setting(
            True, torch.is_grad_enabled, torch._C._set_grad_enabled
        ),
        "torch.are_deterministic_algorithms_enabled()": _Setting(
            (False, False),
            lambda: (
                torch.are_deterministic_algorithms_enabled(),
                torch.is_deterministic_algorithms_warn_only_enabled(),
            ),
            deterministic,
        ),
        "torch.get_num_threads()": _Setting(None, torch.get_num_threads, torch.set_num_threads),
        "torch.get_float32_matmul_precision()": _Setting(
            "highest", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
        ),
        "torch.is_anomaly_enabled()": _Setting(
            False, torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly
        ),
        "torch.set_flush_denormal()": _Setting(
            False,
            lambda: bool(
                (torch.full((1,), 1e-40, dtype=torch.float32, device="cpu") * 1.0 == 0).item()
            ),
            torch.set_flush_denormal,
        ),
        "torch.backends.cudnn.enabled": _Setting(True, *flag(cudnn, "enabled")),
        "torch.backends.cudnn.benchmark": _Setting(None, *flag(cudnn, "benchmark")),
        "torch.backends.cudnn.deterministic": _Setting(False, *flag(cudnn, "deterministic")),
        "torch.backends.cudnn.allow_tf32": _Setting(True, *flag(cudnn, "allow_tf32")),
        "torch.backends.cuda.matmul.allow_tf32": _Setting(None, *flag(matmul, "allow_tf32")),
    }
    for device in ("cpu", "cuda"):
        found[f"torch.is_autocast_enabled('{device}')"] = _Setting(
            False,
            functools.partial(torch.is_autocast_enabled, device),
            functools.partial(torch.set_autocast_enabled, device),
        )
    for holder, names in (
        (module, ("forward_hooks", "forward_pre_hooks", "backward_hooks", "backward_pre_hooks")),
        (optimizer, ("optimizer_pre_hooks", "optimizer_post_hooks")),
    ):
        for name in names:
            known = f"_global_{name}"
            if hasattr(holder, known):
                words = f"the global {name.replace('_', ' ')} of torch"
                found[words] = _Setting(0, *hooks(holder, known))
    return found


class Picture:
    """What the engine is made of, and how torch is set."""

    def __init__(self) -> None:
        self.parts = {(name, attribute): one for name, attribute, one in _parts()}
        self.libraries = {(name, key): one for _, name, key, one in _library_parts()}
        self.settings = _values() if "torch" in sys.modules else {}

    def undo(self) -> list[str]:
        """What has changed since, in words, each put back as it was."""
        told = []
        for name, attribute, (holder, value, code, defaults) in list(_parts()):
            before = self.parts.get((name, attribute))
            full = f"{name}.{attribute}"
            if before is None:
                continue
            _, old, old_code, old_defaults = before
            # torch puts a wrapper around the step of an optimiser's class when it is first made.
            if getattr(value, "__wrapped__", None) is old and not _is_theirs(value):
                continue
            if value is not old:
                with suppress(AttributeError, TypeError):
                    setattr(holder, attribute, old)
                told.append(f"{full} is no longer the engine's{_by(value)}")
            elif code is not old_code or defaults is not old_defaults:
                told.append(f"{full} is no longer the engine's{_by(value)}")
                old.__code__, old.__defaults__ = old_code, old_defaults
        told += strangers()
        for holder, name, key, value in list(_library_parts()):
            if _is_theirs(value):
                if (name, key) in self.libraries:
                    setattr(holder, key, self.libraries[name, key])
                else:  # over what it inherits, or new
                    delattr(holder, key)
        if "torch" in sys.modules:
            told += _put_back(self.settings)
        return list(dict.fromkeys(told))


def _owner(name: str) -> str:
    return "the engine's" if name.startswith(_ENGINE) else "the library's"


def _put_back(before: Mapping[str, Any]) -> list[str]:
    """Settings that are not as before, or in a new process, set so again."""
    told = []
    for name, one in _settings().items():
        wanted, found = before.get(name, one.usual), one.get()
        if wanted is not None and found != wanted:
            told.append(f"{name} is {_typed(found)} and was {_typed(wanted)}")
            one.put(wanted)
    return told


def _typed(value: Any) -> str:
    return str(value[0] if isinstance(value, tuple) else value)


def _values() -> dict[str, Any]:
    return {name: one.get() for name, one in _settings().items()}


def _modules() -> Iterator[tuple[str, ModuleType]]:
    """The engine's modules that are loaded, without content and plug-ins."""
    for name, module in list(sys.modules.items()):
        first, _, rest = name.partition(".")
        if first == _ENGINE and rest.partition(".")[0] not in _CONTENT:
            yield name, module


def _parts() -> Iterator[tuple[str, str, tuple[Any, Any, Any, Any]]]:
    """Every name in the engine's modules and classes: where it stands, and what it is."""
    for name, module in _modules():
        for attribute, value in list(vars(module).items()):
            if attribute.startswith("__") or isinstance(value, ModuleType):
                continue
            yield name, attribute, (module, value, *_inside(value))
            if inspect.isclass(value) and value.__module__ == name:
                for inner, part in list(vars(value).items()):
                    if inner.startswith(("__", "_abc")) and inner not in _CALLED:
                        continue
                    yield f"{name}.{attribute}", inner, (value, part, *_inside(part))


def _inside(value: Any) -> tuple[Any, Any]:
    if isinstance(value, FunctionType):
        return value.__code__, value.__defaults__
    return None, None


def strangers() -> list[str]:
    """Names in the engine, torch and NumPy that stand for code of a plug-in, in words."""
    found = [(f"{name}.{key}", one[1]) for name, key, one in _parts()]
    found += [(f"{name}.{key}", one) for _, name, key, one in _library_parts()]
    return [
        f"{name} is no longer {_owner(name)}{_by(one)}" for name, one in found if _is_theirs(one)
    ]


def _library_parts() -> Iterator[tuple[Any, str, str, Any]]:
    """Every name in the modules and classes of libraries: holder, its own name, name, value."""
    holders = {name: sys.modules[name] for name in _LIBRARIES if name in sys.modules}
    if (torch := sys.modules.get("torch")) is not None:
        for name in _CLASSES:
            holders[f"torch.{name}"] = functools.reduce(getattr, name.split("."), torch)
    for name, holder in holders.items():
        for key, value in list(vars(holder).items()):
            yield holder, name, key, value


def _file_of(value: Any) -> str:
    """The file of what can be called; "" for what has none, or can't be."""
    while isinstance(value, functools.partial | staticmethod | classmethod | MethodType):
        value = value.func if isinstance(value, functools.partial) else value.__func__
    if isinstance(value, property):
        value = value.fget
    return value.__code__.co_filename if isinstance(value, FunctionType) else ""


def _is_theirs(value: Any) -> bool:
    """Whether something that can be called is of a file beside a plug-in that was imported."""
    file = _file_of(value)
    if not file or not reads.is_strange(file):
        return False
    return any(Path(file).resolve().is_relative_to(home) for home in _homes)


def _by(value: Any) -> str:
    file = _file_of(value)
    return f": {Path(file).name} replaced it" if file and reads.is_strange(file) else ""


_changed: dict[str, list[str]] = {}
"""What plug-ins have changed when they were imported, by the name of their module."""
_homes: set[Path] = set()
"""The folders of plug-ins that this process has begun to import, and of what they import."""


@contextmanager
def importing(module: str, file: Path | None = None) -> Iterator[None]:
    """Notes what a plug-in reads and changes while it is imported in the block, and undoes it."""
    if file is not None:
        _homes.add(file.resolve().parent)
        _load_named(file)
    before, known, writes = Picture(), set(sys.modules), sys.dont_write_bytecode
    # Nothing is left beside a user's file; and bytecode is told from its source by seconds and
    # bytes alone, so what it holds may be older than the source that the fingerprint reads.
    sys.dont_write_bytecode = writes or file is not None
    try:
        with reads.importing(sys._getframe(2)):
            yield
    finally:
        sys.dont_write_bytecode = writes
        files = [
            getattr(sys.modules.get(name), "__file__", None) for name in {*sys.modules} - known
        ]
        _homes.update(Path(one).resolve().parent for one in files if one and reads.is_strange(one))
        if told := before.undo():
            _changed[_unit(module)] = told


def _load_named(file: Path) -> None:
    """Loads the modules of the engine that a plug-in names, as they are before it runs."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for whole in set(re.findall(rf"\b{_ENGINE}(?:\.[a-z_]\w*)+", text)):
        parts = whole.split(".")
        # The last ones may be names inside of a module.
        for end in range(len(parts), 1, -1):
            if parts[1] in _CONTENT:
                break
            with suppress(Exception):
                importlib.import_module(".".join(parts[:end]))
                break
    if re.search(r"\btorch\b", text):
        importlib.import_module("torch")


def _unit(module: str) -> str:
    """The file or package of a plug-in, by the name of a module of it."""
    first, *rest = module.split(".")
    return ".".join((first, *rest[:2])) if first == _ENGINE else first


def check(modules: Mapping[str, str], usual: Mapping[str, Any]) -> None:
    """Raises ChangedError if a plug-in has changed the engine, or torch is not set as it should be.

    `modules` are those of the plug-ins that a stage rests on, by what they are called; `usual` are
    settings of torch that the runtime has made.
    """
    for module, who in modules.items():
        if told := _changed.get(_unit(module)):
            raise ChangedError(
                f"{told[0]}: {who} has changed it while it was imported, so that others would "
                "compute something else beside it; take that out of the plug-in"
            )
    told = strangers() if _homes else []
    told += _put_back({**{name: one.usual for name, one in _settings().items()}, **usual})
    if told:
        raise ChangedError(
            f"{told[0]}: something that was imported in this process has changed it, so that the "
            "stage would not be what its key says; nothing was made"
        )


@contextmanager
def working(who: str) -> Iterator[reads.Watch | None]:
    """Notes what plug-ins read while a stage is made in the block; undoes what they change.

    ChangedError that names the first change. None where the process has met no plug-in.
    """
    before = Picture() if _homes else None
    settings = _values()
    try:
        if before is None:
            yield None
        else:
            with reads.watching(sys._getframe(2)) as watch:
                yield watch
    finally:
        told = before.undo() if before else _put_back(settings)
    if told:
        raise ChangedError(f"{told[0]}: {who} has changed it while it ran; nothing of it is kept")
