"""Methods as a study names them: a name, a family, `all`, or an option set in brackets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_origin

from pydantic.fields import FieldInfo

from contrabench.contracts import registry
from contrabench.contracts.method import Deviations
from contrabench.contracts.options import parse_options
from contrabench.errors import RequestError
from contrabench.references import REFERENCE_FAMILY
from contrabench.text import did_you_mean

ALL = "all"


@dataclass(frozen=True)
class Entry:
    """One method with an option set.

    Attributes:
        method: registered name.
        options: `name=value` of the method.
        views: orientations; None for the method's own.
        deep_supervision: None for the method's own.
        named: whether it was named, rather than a member of a family or of all.
    """

    method: str
    options: tuple[str, ...] = ()
    views: Literal["axial", "all"] | None = None
    deep_supervision: bool | None = None
    named: bool = True


def read_entries(words: Sequence[str], exclude: Sequence[str]) -> list[Entry]:
    """Reads the methods of a study, each once, in the order they are named.

    Args:
        words: such as `mmgl`, `instance contrast`, `all`, `mmgl[stages=global, views=axial]`.
        exclude: names and families to leave out of families and `all`; a name that is
            also named outright is left out as well.

    Raises:
        RequestError: for a word that is neither, an option that the method does not
            have, or if nothing is left.
    """
    left_out = {name for word in exclude for name in _members(word.strip())}
    found: list[Entry] = []
    for word in words:
        name, bracket, inside = word.strip().partition("[")
        if bracket:
            if not inside.endswith("]"):
                raise RequestError(f"'{word}' has no closing bracket; write name[option=value]")
            entries = [_with_options(name.strip(), inside[:-1])]
        else:
            members = _members(name)
            entries = [Entry(member, named=members == [name]) for member in members]
        found += [e for e in entries if e.method not in left_out and e not in found]
    if not found:
        raise RequestError(
            "no method is left in the study; name one of 'bench methods' or exclude less"
        )
    return found


def split_words(text: str) -> list[str]:
    """Splits a list at its commas, but not at those inside of brackets."""
    parts, depth = [""], 0
    for mark in text:
        depth += {"[": 1, "]": -1}.get(mark, 0)
        if mark == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += mark
    return [part.strip() for part in parts if part.strip()]


def _members(word: str) -> list[str]:
    """The methods that a word stands for; references belong to none but their own family."""
    names = list(registry.methods.names())
    if word in names:
        return [word]
    families: dict[str, list[str]] = {}
    for entry in registry.methods.entries():
        if entry.value is not None:
            families.setdefault(entry.value.info.family, []).append(entry.name)
        elif entry.name == word:
            registry.methods.get(word)
    if word == ALL:
        return [
            name for family in families if family != REFERENCE_FAMILY for name in families[family]
        ]
    wanted = word.lower().replace("-", " ").replace("_", " ")
    for family, members in families.items():
        if family.lower().replace("-", " ") == wanted:
            return members
    hint = did_you_mean(word, [*names, *families])
    raise RequestError(
        f"there is no method or family '{word}'; {hint}methods are {', '.join(names)}; families "
        f"are {', '.join(sorted(families))}; or write all"
    )


def _with_options(name: str, inside: str) -> Entry:
    """A method with what stands in its brackets: options of its own, and deviations."""
    method = registry.methods.get(name)
    options: list[str] = []
    deviations: list[str] = []
    for pair in split_words(inside):
        key = pair.partition("=")[0].strip().replace("-", "_")
        (deviations if key in Deviations.model_fields else options).append(pair)
    options = [_listed(method.Options.model_fields, pair) for pair in options]
    parse_options(method.Options, options, f"method '{name}'")
    changed: dict[str, Any] = {}
    if deviations:
        asked = parse_options(Deviations, deviations, f"method '{name}'")
        changed = {key: getattr(asked, key) for key in asked.model_fields_set}
    return Entry(name, tuple(options), **changed)


def _listed(fields: Mapping[str, FieldInfo], pair: str) -> str:
    """A list as tables write it, `a+b`, in the brackets that options are read with."""
    key, sign, text = pair.partition("=")
    field = fields.get(key.strip().replace("-", "_"))
    is_list = field is not None and get_origin(field.annotation) in (tuple, list)
    if not is_list or text.strip().startswith("["):
        return pair
    return f"{key}{sign}[{text.replace('+', ',')}]"
