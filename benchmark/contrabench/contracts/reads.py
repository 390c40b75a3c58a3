"""What a plug-in reads beside its code: files, and variables of the environment.

Its results depend on them as on its code. What is read while it is imported belongs to its
fingerprint, and what is read while it runs is told with its rows. Opening a file raises an audit
event, and a variable is asked for through `os.environ`: nothing is done where neither happens.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import source_from_cache
from pathlib import Path
from types import FrameType
from typing import Any

_ENGINE = Path(__file__).resolve().parents[1]
_DATA = [_ENGINE.parents[1] / folder for folder in ("datasets", "reports")]
"""Content that reads files for its living."""
_LIBRARIES = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")]
_INSTALLED = {"site-packages", "dist-packages"}
_SYSTEM = ("/proc/", "/dev/", "/sys/", "/etc/")
_SECRET = re.compile(r"key|token|secret|pass|credential", re.I)
_LONGEST, _MOST = 40, 20
_IMPORTER = "<frozen importlib"
_MAPPING = ("os", "collections.abc", "_collections_abc")
"""What `os.environ.get` goes through."""


@lru_cache(maxsize=4096)
def is_library(file: Path | str) -> bool:
    """Whether a file is of Python or of an installed library."""
    path = Path(file).resolve()
    if _INSTALLED & set(path.parts):
        return True
    return any(path.is_relative_to(home) for home in _LIBRARIES)


_distributed: set[str] = set()
"""Folders of plug-ins that lie among the installed libraries."""


def belongs_to_plugin(folder: Path) -> None:
    """Makes known that what lies in an installed folder is the code of a plug-in."""
    _distributed.add(str(folder.resolve()))
    is_strange.cache_clear()


@lru_cache(maxsize=4096)
def is_strange(file: str) -> bool:
    """Whether code of a file is neither the engine's nor a library's: a plug-in's, or a user's."""
    if file.startswith("<"):
        return False
    path = Path(file).resolve()
    if any(path.is_relative_to(folder) for folder in _distributed):
        return True
    engine = any(path.is_relative_to(home) for home in (_ENGINE, *_DATA))
    return not engine and not is_library(path)


@dataclass
class _Read:
    """What the code of one file has read."""

    files: dict[str, None] = field(default_factory=dict)
    variables: dict[str, str | None] = field(default_factory=dict)


class Watch:
    """Who has read what since it began, by the file of the code that did."""

    def __init__(self, stop: FrameType | None) -> None:
        self.stop, self.found = stop, dict[str, _Read]()

    def of(self, file: str) -> _Read:
        """What the code of a file has read."""
        return self.found.setdefault(file, _Read())


_open: list[Watch] = []
_at_import: dict[str, list[str]] = {}
"""What was read at import in lines, by the file of the code that did."""
_hooked: set[str] = set()
"""Events that the interpreter calls here for, from the first watch on."""


@contextmanager
def watching(stop: FrameType | None = None) -> Iterator[Watch]:
    """Notes what code of plug-ins reads in the block.

    Code that called the block, or the frame that is given, is not looked at.
    """
    if not _hooked:
        # It can't be taken away again.
        sys.addaudithook(_audit)
        _hooked.add("open")
    # The caller's own frame is two above: that of the context manager lies between.
    watch, before = Watch(stop or sys._getframe(2)), os.environ.__class__
    _open.append(watch)
    os.environ.__class__ = _Environment
    try:
        yield watch
    finally:
        _open.remove(watch)
        os.environ.__class__ = before


@contextmanager
def importing(stop: FrameType | None = None) -> Iterator[None]:
    """Notes what a plug-in reads while it is imported in the block: it is of its fingerprint."""
    with watching(stop or sys._getframe(2)) as watch:
        yield
    for file, read in watch.found.items():
        _at_import[file] = list(dict.fromkeys((*_at_import.get(file, ()), *_lines(file, read))))


def at_import(code: Iterable[str]) -> list[str]:
    """What some files of code have read while they were imported, a line each, sorted.

    The code itself is not among it.
    """
    files = [str(Path(file).resolve()) for file in code]
    known = {_shown(Path(file), Path(one).parent) for one in files for file in files}
    lines = {line for file in files for line in _at_import.get(file, ())}
    return sorted(line for line in lines if line.partition(" (")[0] not in known)


def told(watch: Watch) -> list[str]:
    """What has been read under a watch, a line each."""
    return sorted({line for file, read in watch.found.items() for line in _lines(file, read)})


def _lines(code: str, read: _Read) -> Iterator[str]:
    for name in read.files:
        try:
            content = hashlib.sha256(Path(name).read_bytes()).hexdigest()[:8]
        except OSError:
            content = "gone"
        yield f"{_shown(Path(name), Path(code).parent)} (sha {content})"
    for name, value in list(read.variables.items())[:_MOST]:
        if value is None:
            yield f"{name} (not set)"
        elif _SECRET.search(name) or len(value) > _LONGEST:
            yield f"{name} (sha {hashlib.sha256(value.encode()).hexdigest()[:8]})"
        else:
            yield f"{name}={value}"
    if (more := len(read.variables) - _MOST) > 0:
        yield f"{more} variables more"


def _shown(file: Path, home: Path) -> str:
    """A file's name that is the same on every machine."""
    return file.relative_to(home).as_posix() if file.is_relative_to(home) else file.name


def _audit(event: str, args: tuple[Any, ...]) -> None:
    """Called by the interpreter for every event; all but opened files pass at once."""
    if event not in _hooked or not _open:
        return
    name, mode = args[0], args[1]
    if not isinstance(name, str | bytes | os.PathLike) or not _reads(mode, args[2]):
        return
    code = _opener(_open[-1].stop)
    if code is None:
        return
    with suppress(OSError, ValueError):
        path = Path(os.fsdecode(name)).resolve()
        if path.suffix == ".pyc":
            path = Path(source_from_cache(str(path)))
        if _counts(path, code):
            _open[-1].of(code).files[str(path)] = None


def _reads(mode: str | None, flags: int) -> bool:
    """Whether a file is opened to be read; `os.open` has flags alone."""
    if mode is None:
        return flags & (os.O_WRONLY | os.O_RDWR) != os.O_WRONLY
    return "r" in mode or "+" in mode


def _counts(path: Path, code: str) -> bool:
    """Whether a file may hold anything that results depend on, other than its reader's code."""
    if str(path) == code or str(path).startswith(_SYSTEM) or not path.is_file():
        return False
    cache = Path(tempfile.gettempdir()).resolve() / "torchinductor"
    if str(path).startswith(str(cache)):
        return False
    return not is_library(path) and not (path.suffix == ".py" and path.is_relative_to(_ENGINE))


def _opener(stop: FrameType | None) -> str | None:
    """The file of the plug-in's code that has a file opened; None if none has.

    What is opened while some library is being imported is not the plug-in's.
    """
    frame: FrameType | None = sys._getframe(2)
    passed = False
    while frame is not None and frame is not stop:
        file = frame.f_code.co_filename
        if file.startswith(_IMPORTER):
            if passed:
                return None
        elif is_strange(file):
            return str(Path(file).resolve())
        else:
            passed = True
        frame = frame.f_back
    return None


class _Environment(os._Environ):  # type: ignore[type-arg]
    """The variables of the environment, while somebody watches who asks for them."""

    def __getitem__(self, key: str) -> str:
        try:
            value: str | None = super().__getitem__(key)
        except KeyError:
            self._note(key, None)
            raise
        self._note(key, value)
        return str(value)

    def _note(self, key: str, value: str | None) -> None:
        """Notes a variable that a plug-in asks for itself, and not what it calls."""
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and frame.f_globals.get("__name__") in _MAPPING:
            frame = frame.f_back
        if frame is None or not _open or frame is _open[-1].stop:
            return
        if is_strange(file := frame.f_code.co_filename):
            _open[-1].of(str(Path(file).resolve())).variables[key] = value
