"""A loss or a metric as it is asked for: a name, with options in brackets where some differ."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

from contrabench.contracts.fingerprint import fingerprint
from contrabench.contracts.options import bracketed, parse_options, typed
from contrabench.contracts.registry import Registry, losses
from contrabench.errors import RequestError
from contrabench.protocol import Options
from contrabench.text import split_words

P = TypeVar("P")


@dataclass(frozen=True)
class Chosen(Generic[P]):
    """A plug-in of class `P` with its options."""

    name: str
    kind: Any
    options: Options

    @property
    def text(self) -> str:
        """How it is asked for and told: `name`, or `name[option=value]`."""
        usual = type(self.options)()
        changed = [
            f"{field}={typed(value)}"
            for field, value in sorted(self.options)
            if value != getattr(usual, field)
        ]
        return f"{self.name}[{', '.join(changed)}]" if changed else self.name

    @property
    def identity(self) -> dict[str, Any]:
        """What a stage that it is part of depends on: its code, version and options."""
        return {
            "name": self.name,
            "code": fingerprint(self.kind),
            "version": self.kind.info.version,
            "options": self.options.model_dump(mode="json"),
        }

    def open(self) -> P:
        """The plug-in, made."""
        made: P = self.kind(self.options)
        return made


def chosen(plugins: Registry[type[P]], text: str) -> Chosen[P]:
    """Reads `name` or `name[option=value, ...]`; RequestError for what is not there."""
    found = re.fullmatch(r"([^\[\]]+)(?:\[(.*)\])?", text.strip())
    if found is None:
        raise RequestError(
            f"the {plugins.kind} '{text}' is not understood; write name or name[option=value]"
        )
    name = found[1].strip()
    kind: Any = plugins.get(name)
    what = f"{plugins.kind} '{name}'"
    pairs = [bracketed(kind.Options, pair) for pair in split_words(found[2] or "")]
    return Chosen(name, kind, parse_options(kind.Options, pairs, what))


def checked_loss(text: str) -> str:
    """A loss as tables name it; RequestError if there is none, or it does not keep the contract."""
    one = chosen(losses, text)
    _check_once(one.kind, one.text)
    return one.text


@lru_cache(maxsize=64)
def _check_once(kind: type, text: str) -> None:
    """A study asks for the same loss in each of its runs."""
    from contrabench.contracts.loss import check_loss

    check_loss(chosen(losses, text).open(), f"loss '{text}'")
