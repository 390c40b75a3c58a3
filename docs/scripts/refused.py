"""Writes `docs/refused.md`: every hostile input of the tests, and the line that it ends with.

    python docs/scripts/refused.py

Each row of `tests/hostile/test_*.py` is asked for as the tests do; what a machine makes different,
such as temporary folders, is left out of the lines.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "refused.md"
FAMILIES = ROOT / "tests" / "hostile"
TITLES = {
    "nifti": "NIfTI and other volumes",
    "dataset_json": "dataset.json",
    "study_toml": "study.toml and contrabench.toml",
    "plugins": "Plug-ins",
}
LONGEST = 240
"""Characters of a line that are shown."""
HEAD = """# What we refuse and why

A wrong request costs seconds, never a night. So whatever cannot be carried out, or could give a
wrong number in silence, is refused before anything is trained, in one line on standard error: what
happened, what it means, what to do. No traceback is shown for what a user can mend, no input is
ever changed, and nothing is written outside of the store and the files that were asked for.

The exit code is 2 for a wrong request, be it an option, a file or data; 1 for what failed on its
way; 130 for Ctrl-C; and 0 for what is done. Rows with the code 0 are oddities that must make no
difference. What nobody foresaw ends with code 1 as well, and its line names a file in `faults/` of
the store, or in the folder for temporary files, with the traceback and what else it takes to mend
it.

Each row below is a test. This page is written by `python docs/scripts/refused.py`, which runs them;
paths of the input stand as FOLDER.
"""


def families() -> dict[str, ModuleType]:
    """The files of the tests by what they are about."""
    found = {}
    for file in sorted(FAMILIES.glob("test_*.py")):
        module = importlib.import_module(f"tests.hostile.{file.stem}")
        name = file.stem.removeprefix("test_")
        found[name] = module
    return found


def cell(text: str) -> str:
    """A text as it can stand in a table."""
    return text.replace("|", r"\|").replace("<", "&lt;")


def shown(line: str, folder: Path) -> str:
    """A line without what the machine makes of it, as code."""
    line = re.sub(rf"{re.escape(str(folder))}(/given|/work)?", "FOLDER", line.strip())
    line = re.sub(re.escape(tempfile.gettempdir()) + r"/[\w.-]+", "FOLDER", line)
    line = line.replace(f"{ROOT}/", "")
    # Names that tests make unlike each other by the number of their process.
    line = re.sub(r"(hostile_|mine_)[\d_]+", r"\1N", line)
    line = re.sub(r"(/?(x|deep){20,})+", "/...", line)
    line = f"{line[: LONGEST - 3]}..." if len(line) > LONGEST else line
    return f"`` {line.replace('|', chr(92) + '|')} ``"


def table(family: ModuleType) -> str:
    """The rows of one family, each asked for as its test does."""
    from tests.hostile.refusals import refused

    about = family.__doc__.strip().splitlines()[0]
    alone = getattr(family, "alone", nullcontext)
    lines = [about, "", "| what is wrong | code | the line |", "|---|---|---|"]
    for case in family.REFUSALS:
        with tempfile.TemporaryDirectory(prefix="refused-") as home, alone():
            line = refused(case, Path(home))
        lines.append(f"| {cell(case.what)} | {case.code} | {shown(line, Path(home))} |")
    return "\n".join(lines)


def main() -> None:
    """Writes the page."""
    sys.path.insert(0, str(ROOT))
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp()
    parts = [HEAD]
    for name, family in families().items():
        title = TITLES.get(name, name.replace("_", " ").capitalize())
        parts.append(f"## {title}\n\n{table(family)}\n")
    PAGE.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
