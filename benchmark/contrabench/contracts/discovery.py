"""Plug-ins given by path: which files they are, and how they are imported.

A file becomes a submodule of `contrabench.plugins`. The list of paths lives in an environment
variable and nowhere else, so a worker that unpickles a plug-in's class finds the same file.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from contrabench.contracts import intact
from contrabench.errors import RequestError
from contrabench.files import expanded
from contrabench.text import one_line

VARIABLE = "CONTRABENCH_PLUGINS"
PACKAGE = "contrabench.plugins"


@dataclass(frozen=True)
class BrokenFile:
    """A plug-in file that could not be imported, and why, in one line."""

    module: str
    path: Path
    reason: str


def listed() -> list[Path]:
    """The paths in `CONTRABENCH_PLUGINS`, absolute, each once."""
    parts = os.environ.get(VARIABLE, "").split(os.pathsep)
    return list(dict.fromkeys(expanded(part).resolve() for part in parts if part))


def add(path: Path) -> None:
    """Adds a `.py` file, package folder or folder of files for this process and its workers.

    RequestError if there is no plug-in at the path, or its name is taken.
    """
    paths = list(dict.fromkeys([*listed(), path.resolve()]))
    sources(paths)
    os.environ[VARIABLE] = os.pathsep.join(str(path) for path in paths)
    importlib.invalidate_caches()


def sources(paths: Iterable[Path]) -> dict[str, Path]:
    """The files of plug-in paths by module; RequestError if there are none or two of a name."""
    found: dict[str, Path] = {}
    for path in paths:
        for file in _files(path):
            name = file.parent.name if file.name == "__init__.py" else file.stem
            if not name.isidentifier():
                raise RequestError(
                    f"plug-in {file} cannot be imported under the name '{name}'; rename it to "
                    "letters, digits and underscores"
                )
            if found.setdefault(name, file) != file:
                raise RequestError(
                    f"two plug-ins are called '{name}': {found[name]} and {file}; rename one, "
                    "because a worker process can import only one module of that name"
                )
    return found


def _files(path: Path) -> list[Path]:
    """The files to be imported of one plug-in path."""
    if path.is_file() and path.suffix == ".py":
        return [path]
    if (package := path / "__init__.py").is_file():
        return [package]
    if path.is_dir():
        if files := sorted(file for file in path.glob("*.py") if not file.name.startswith("_")):
            return files
        raise RequestError(
            f"plug-in folder {path} holds no Python file; give a .py file, a folder of .py "
            "files, or a package"
        )
    state = "is not a .py file" if path.exists() else "does not exist"
    raise RequestError(f"plug-in {path} {state}; check --plugin and {VARIABLE}")


def folders() -> list[str]:
    """The folders in which the modules of all listed plug-ins lie."""
    return list(
        dict.fromkeys(
            str(path if path.is_dir() and not (path / "__init__.py").is_file() else path.parent)
            for path in listed()
        )
    )


def load_all(word: str | None = None) -> list[BrokenFile]:
    """Imports every listed plug-in that is not imported yet; those that fail harm no other.

    Of those that are read only files whose source holds a word in quotes, such as a name that they
    register, if one is given. RequestError if a listed path holds no plug-in, or two files share a
    name.
    """
    wanted = sources(listed())
    if word is not None:
        wanted = {name: file for name, file in wanted.items() if _holds(file, word)}
    if not wanted:
        return []
    open_package()
    broken = []
    for name, file in wanted.items():
        module = f"{PACKAGE}.{name}"
        try:
            spec = importlib.util.find_spec(module)
            origin = Path(spec.origin).resolve() if spec is not None and spec.origin else None
            if origin != file:
                raise RequestError(f"{file} is hidden by {origin}; rename one of them")
            if module not in sys.modules:
                with intact.importing(module, file):
                    importlib.import_module(module)
        # A file may call sys.exit at import; that must not end the program.
        except (Exception, SystemExit) as error:
            broken.append(BrokenFile(module, file, one_line(error)))
    return broken


def open_package() -> None:
    """Makes the files of all listed plug-ins submodules of the package that they share."""
    package = importlib.import_module(PACKAGE)
    package.__path__.extend(home for home in folders() if home not in package.__path__)


def _holds(file: Path, word: str) -> bool:
    """Whether a plug-in's file, or one of its package, has a word in quotes."""
    files = file.parent.rglob("*.py") if file.name == "__init__.py" else [file]
    quoted = [f"{mark}{word}{mark}".encode() for mark in "'\""]
    try:
        return any(each in one.read_bytes() for one in files for each in quoted)
    except OSError:
        return True


def extend_with_checkout(package_path: list[str], folder: str) -> None:
    """Lets a content package find its files in the checkout of an editable install.

    As submodules of a real package their classes can be unpickled by workers that `spawn` starts.
    """
    checkout = Path(__file__).resolve().parents[3]
    content = checkout / folder
    if (checkout / "pyproject.toml").is_file() and content.is_dir():
        package_path.append(str(content))
