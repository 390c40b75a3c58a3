"""Files that are either there in full or not there: temporary name, fsync, rename."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from contrabench.errors import RequestError
from contrabench.text import printable

if TYPE_CHECKING:
    from numpy.typing import NDArray

_END = ".tmp"
_FULL = re.compile(
    r"No space left on device|Disk quota exceeded|\d+ requested and \d+ written"
    r"|PytorchStreamWriter failed writing|database or disk is full"
)
"""How libraries tell of a full disk without its number."""
_QUOTES = "; a backslash begins an escape within double quotes: write 'single quotes', or / for it"


def expanded(given: str | Path, base: Path | None = None) -> Path:
    """A path as a user gives it, with its `~` or `~user`, made absolute; links in it stay.

    It is done once, where the path comes in: on the command line, in a variable or in a file, whose
    folder is `base` then. RequestError if it cannot be a path here.
    """
    text = str(given)
    if not text:
        raise RequestError("a path is empty, as of a variable that is not set; . is this folder")
    if fault := re.search(r"[\x00-\x1f\x7f-\x9f]", text):
        cure = "; give it another name" if base is None else _QUOTES
        raise RequestError(f"the path {text!r} holds the control character {fault[0]!r}{cure}")
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        user = text.split("/", maxsplit=1)[0][1:]
        why = f"there is no user '{user}'" if user else "this user has no home folder"
        raise RequestError(f"{text} leads nowhere: {why}; write the whole path") from None
    path = ((base or Path()) / path).absolute()
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass  # it may be made, and whoever needs it says so better
    except OSError as error:
        raise RequestError(f"{path} cannot be reached: {error.strerror}") from error
    return path


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file as any editor saves it; RequestError if it is none.

    OSError if it cannot be read.
    """
    text = ""
    try:
        text = path.read_text(encoding="utf-8-sig")
        return tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise RequestError(
            f"{path} is no text in UTF-8 ({error.reason}); save it as UTF-8"
        ) from error
    except RecursionError:
        raise RequestError(f"{path} is no valid TOML: it is nested too deep") from None
    except ValueError as error:
        told = str(error)
        line = re.search(r"at line (\d+)", told)
        near = text.splitlines()[int(line[1]) - 1 : int(line[1])] if line else []
        cure = _QUOTES if any("\\" in one for one in near) else ""
        raise RequestError(f"{path} is no valid TOML: {printable(told)}{cure}") from error


def temporary_sibling(path: Path) -> Path:
    """A name beside `path` that no other process uses."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{_END}")


def is_temporary(path: Path) -> bool:
    """Whether a name is one that `temporary_sibling` gives."""
    return path.name.startswith(".") and path.name.endswith(_END)


def cache_folder() -> Path:
    """The user's, for what can be found out again; it cannot be made where there is no home."""
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not home.is_absolute():  # the standard has such a name ignored
        try:
            mine = Path("~").expanduser()
        except RuntimeError:
            mine = Path(os.devnull)
        # A home that is not there is nobody's to make.
        home = mine / ".cache" if os.path.isdir(mine) else Path(os.devnull)  # noqa: PTH112
    return home / "contrabench"


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it came of, says that no space is left, whoever raised it."""
    if error is None:
        return False
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    before = error.__cause__ or error.__context__
    return full or bool(_FULL.search(str(error))) or is_disk_full(before)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name to write a file under; it gets its own when all of it is on disk.

    Its folder exists. Whatever goes wrong, a full disk included, nothing is left under the
    temporary name, and what `path` held before is untouched.
    """
    temporary = temporary_sibling(path)
    try:
        yield temporary
        sync_file(temporary)
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Writes a file atomically, making its folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically, making its folder if need be."""
    write_bytes(path, text.encode("utf-8"))


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Writes an array as `.npy`, atomically.

    NumPy's own way to a file on disk drops the end of a small array without a word when the disk is
    full, and tells of a large one without the system's number of the error.
    """
    import numpy as np

    whole = io.BytesIO()
    np.save(whole, array)
    write_bytes(path, whole.getbuffer())


def read_json(path: Path) -> Any:
    """The content of a JSON file that anybody may have written; None if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def sync_file(path: Path) -> None:
    """Flushes a file's content to disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Flushes a folder's entries to disk, where the system can do that."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def checksum(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; what vanishes meanwhile counts nothing."""
    try:
        about = path.lstat()
        folder = stat.S_ISDIR(about.st_mode)
        return sum(map(size_of, path.iterdir())) if folder else about.st_size
    except OSError:
        return 0


def nearest_there(path: Path) -> Path:
    """A path, or the first of its parents that exists: where a folder lies, or will lie."""
    place = path.absolute()
    return next(one for one in (place, *place.parents) if one.exists())


def is_locked(lock: Path) -> bool:
    """Whether a process holds a lock, which is not made; also true where that cannot be told."""
    from filelock import FileLock, Timeout

    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except (OSError, Timeout):
        return True


MARKER = "done.json"


def seal_folder(folder: Path) -> None:
    """Writes the marker, as the last thing before the folder gets its name.

    All that it speaks for is on disk before it, so that no power cut can leave a marker beside
    empty files. What a killed process left under a temporary name goes.
    """
    sums = {}
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)
        elif is_temporary(path):
            path.unlink()
        elif path.name != MARKER:
            sync_file(path)
            sums[path.relative_to(folder).as_posix()] = checksum(path)
    sync_folder(folder)
    write_text(folder / MARKER, json.dumps({"files": sums}, indent=2, sort_keys=True) + "\n")


def finish_folder(work: Path, final: Path) -> None:
    """Seals a folder and gives it its name, unless a rival whom no lock stopped was first."""
    seal_folder(work)
    try:
        work.rename(final)
    except OSError:
        if not final.is_dir() or damage_of(final) is not None:
            raise
        shutil.rmtree(work, ignore_errors=True)
    sync_folder(final.parent)


def sealed_files(folder: Path) -> dict[str, str] | None:
    """The files that a folder's marker names, with their checksums.

    None if the marker is missing, unreadable, or names a file outside the folder.
    """
    marker = read_json(folder / MARKER)
    files = marker.get("files") if isinstance(marker, dict) else None
    if not isinstance(files, dict) or not all(
        isinstance(value, str) and _inside(name) for name, value in files.items()
    ):
        return None
    return files


def damage_of(folder: Path, unread: str | tuple[str, ...] = ()) -> str | None:
    """Says what is wrong with a sealed folder, or None if every file matches its checksum.

    Files with the ending `unread` need only be there.
    """
    files = sealed_files(folder)
    if files is None:
        return "its marker is missing or unreadable"
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            return f"the file {name} is missing"
        try:
            same = name.endswith(unread) or checksum(path) == expected
        except OSError as error:
            return f"the file {name} cannot be read ({error.strerror})"
        if not same:
            return f"the file {name} has changed since it was written"
    return None


def _inside(name: str) -> bool:
    """Whether a name stays below the folder that it is looked up in."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name
