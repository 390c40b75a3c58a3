"""Methods as a study names them: a name, a family, `all`, or an option set in brackets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_origin

from contrabench.contracts import registry
from contrabench.contracts.method import Deviations, Method
from contrabench.contracts.options import parse_options
from contrabench.errors import RequestError
from contrabench.references import REFERENCE_FAMILY
from contrabench.text import did_you_mean

ALL = "all"


@dataclass(frozen=True)
class Asked:
    """One method with an option set.

    Attributes:
        options: pairs `name=value` of the method's own options.
        deviations: those that were asked for, by name.
        named: whether it was named, rather than a member of a family or of all.
    """

    name: str
    options: tuple[str, ...] = ()
    deviations: tuple[tuple[str, Any], ...] = ()
    named: bool = True

    @property
    def method(self) -> type[Method]:
        """The plug-in."""
        return registry.methods.get(self.name)

    def deviating(self, study: dict[str, Any]) -> Deviations:
        """The method's own deviations, under those of the study, under those of its own words."""
        return self.method.deviations.model_copy(update=study | dict(self.deviations))


def read_methods(words: Sequence[str], exclude: Sequence[str]) -> list[Asked]:
    """Reads the methods of a study, each once, in the order they are named.

    Words are such as `mmgl`, `instance contrast`, `all`, `mmgl[stages=global, views=axial]`. A name
    that is excluded is left out even where it is also named.

    Raises:
        RequestError: for an unknown word or option, or if nothing is left.
    """
    left_out = {name for word in exclude for name in _members(word.strip())}
    found: list[Asked] = []
    for word in words:
        name, bracket, inside = word.strip().partition("[")
        if bracket:
            if not inside.endswith("]"):
                raise RequestError(f"'{word}' has no closing bracket; write name[option=value]")
            asked = [_with_options(name.strip(), split_words(inside[:-1]))]
        else:
            members = _members(name)
            asked = [Asked(member, named=members == [name]) for member in members]
        found += [one for one in asked if one.name not in left_out and one not in found]
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


def plain(name: str, **deviations: Any) -> Asked:
    """A reference as tables look for it: without deviations, whatever the study asks."""
    return Asked(name, deviations=tuple({**Deviations().model_dump(), **deviations}.items()))


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


def _with_options(name: str, pairs: Sequence[str]) -> Asked:
    """A method with what stands in its brackets: options of its own, and deviations."""
    method = registry.methods.get(name)
    options: list[str] = []
    deviations: list[str] = []
    for pair in pairs:
        key = pair.partition("=")[0].strip().replace("-", "_")
        (deviations if key in Deviations.model_fields else options).append(pair)
    options = [_listed(method, pair) for pair in options]
    parse_options(method.Options, options, f"method '{name}'")
    changed: dict[str, Any] = {}
    if deviations:
        asked = parse_options(Deviations, deviations, f"method '{name}'")
        changed = {key: getattr(asked, key) for key in asked.model_fields_set}
    return Asked(name, tuple(options), tuple(changed.items()))


def _listed(method: type[Method], pair: str) -> str:
    """A list as tables write it, `a+b`, in the brackets that options are read with."""
    key, sign, text = pair.partition("=")
    field = method.Options.model_fields.get(key.strip().replace("-", "_"))
    is_list = field is not None and get_origin(field.annotation) in (tuple, list)
    if not is_list or text.strip().startswith("["):
        return pair
    return f"{key}{sign}[{text.replace('+', ',')}]"
