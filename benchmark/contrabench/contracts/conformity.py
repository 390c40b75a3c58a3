"""What the conformance kit has found out about a plug-in, kept by the fingerprint of its code."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import contrabench
from contrabench.contracts.discovery import PACKAGE as LOOSE
from contrabench.contracts.fingerprint import CONTENT, fingerprint
from contrabench.files import cache_folder, write_text
from contrabench.protocol import digest

if TYPE_CHECKING:
    from contrabench.contracts.method import Method

PASSED, FAILED, UNKNOWN = "passed", "failed", "not checked"


def _file(code: str) -> Path:
    return cache_folder() / "checked" / f"{code}.json"


def keep(method: Method, failed: Sequence[str]) -> None:
    """Keeps what the kit has found for a method with its options: the checks that failed."""
    code = fingerprint(type(method))
    verdict = {
        "outcome": FAILED if failed else PASSED,
        "failed": list(failed),
        "version": contrabench.__version__,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }
    # No cache, or a damaged one, costs the mark on the rows and nothing else.
    with suppress(OSError):
        content = {**_kept(code), _of(method.options.model_dump(mode="json")): verdict}
        write_text(_file(code), json.dumps(content, indent=1) + "\n")


def found(code: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept for code and options; its `outcome` is `UNKNOWN` where it never was checked.

    Checked with other options, it is what was found last with these.
    """
    kept = _kept(code)
    last: dict[str, Any] = {"outcome": UNKNOWN}
    for verdict in kept.values():
        last = verdict
    return kept.get(_of(options), last)


def is_ours(module: str) -> bool:
    """Whether a module is of a built-in, which the tests of this project check."""
    return any(module.startswith(f"{home}.") for home in CONTENT if home != LOOSE)


def _of(options: Mapping[str, Any]) -> str:
    return digest({"options": dict(options)})


def _kept(code: str) -> dict[str, dict[str, Any]]:
    with suppress(OSError, ValueError):
        content = json.loads(_file(code).read_text(encoding="utf-8"))
        if isinstance(content, dict) and all(isinstance(one, dict) for one in content.values()):
            return content
    return {}
