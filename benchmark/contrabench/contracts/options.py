"""A plug-in's own options from the command line: `-o key=value` to a checked model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from contrabench import limits
from contrabench.errors import RequestError
from contrabench.protocol import Frozen, canonical_json
from contrabench.text import did_you_mean, kept_whole

Values = TypeVar("Values", bound=Frozen)


Given = Sequence[str] | Mapping[str, Any]
"""Options as `key=value` pairs, or as a file or a caller gives them."""


def parse_options(cls: type[Values], given: Given, what: str) -> Values:
    """Reads a plug-in's options; `what` is that in words: "method 'mmgl'".

    A value is JSON where it reads as JSON (`3`, `1e-4`, `true`, `null`, `[1, 2]`), a list of bare
    words in brackets (`[axial, coronal]`), and a string otherwise. A field that wants a string
    gets one: `name=1e3` is then the three letters. RequestError with one line for each option
    that is unknown, given twice or wrong.
    """
    texts, faults = _split(given)
    values = {key: read_value(text) for key, text in texts.items()}

    def unfit(given: Mapping[str, Any]) -> set[str]:
        return {str(detail["loc"][0]) for detail in _problems(cls, given) if detail["loc"]}

    # Where the value that was read does not fit, the plain text may. The first reading gives
    # the better message for what fits in neither.
    wrong = unfit(values)
    plain = {key: text for key, text in texts.items() if key in wrong}
    still = unfit(values | plain) if plain else set()
    values |= {key: text for key, text in plain.items() if key not in still}
    problems = _problems(cls, values)
    faults += [fault_words(problem, cls) for problem in problems]
    if not problems:
        options = cls.model_validate(values)
        faults += _not_finite(options, texts)
        if not faults:
            return options
    raise RequestError(_message(faults, what))


def read_pairs(pairs: Sequence[str]) -> dict[str, Any]:
    """Reads `key=value` pairs whose keys are checked later; RequestError if none, or one twice."""
    texts, faults = _split(pairs)
    if faults:
        raise RequestError(_message(faults, "the command line"))
    return {key: read_value(text) for key, text in texts.items()}


def read_value(text: str) -> Any:
    """Reads one value: JSON, a bracketed list of bare words, or the text itself."""
    text = text.strip()
    try:
        return json.loads(text)
    except ValueError:
        pass
    if text.startswith("[") and text.endswith("]"):
        return [read_value(item) for item in text[1:-1].split(",") if item.strip()]
    return {"none": None, "True": True, "False": False}.get(text, text)


def typed(value: object) -> str:
    """An option's value as it would be typed; a list as `a+b`, as tables write it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return "+".join(typed(item) for item in value)
    return kept_whole(value) if isinstance(value, str) else str(value)


def bracketed(cls: type[Frozen], pair: str) -> str:
    """A pair, a list in it that is written as tables do, `a+b`, in brackets."""
    key, sign, text = pair.partition("=")
    field = cls.model_fields.get(key.strip().replace("-", "_"))
    is_list = field is not None and get_origin(field.annotation) in (tuple, list)
    if not is_list or text.strip().startswith("["):
        return pair
    return f"{key}{sign}[{text.replace('+', ',')}]"


def _split(given: Given) -> tuple[dict[str, str], list[str]]:
    """Separates keys from values, as text, and reports pairs that have none or come twice."""
    if isinstance(given, Mapping):
        given = [
            f"{key}={value if isinstance(value, str) else json.dumps(value, default=str)}"
            for key, value in given.items()
        ]
    texts: dict[str, str] = {}
    faults = []
    for pair in given:
        key, sign, text = pair.partition("=")
        key = key.strip().replace("-", "_")
        if not sign or not key:
            faults.append(f"'{pair}' is not a pair; write key=value")
        elif key in texts:
            faults.append(f"'{key}' is given twice, as {texts[key]} and as {text}; keep one")
        else:
            texts[key] = text
    return texts, faults


def _problems(cls: type[Frozen], values: Mapping[str, Any]) -> list[ErrorDetails]:
    """What pydantic finds wrong with some values."""
    try:
        cls.model_validate(values)
    except ValidationError as error:
        return error.errors()
    return []


def fault_words(fault: ErrorDetails, *models: type[Frozen]) -> str:
    """What pydantic has found wrong with a value, in plain words.

    `models` are those that were read, each a field of the one before.
    """
    # Of a field that may be one of several types, pydantic names the type it has tried.
    tried = {"str", "int", "float", "constrained-int", *(model.__name__ for model in models)}
    place = [
        str(part)
        for part in fault["loc"]
        if part not in tried and not str(part).startswith("tuple[")
    ]
    text = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if not place:
        return text
    name, problem = f"'{'.'.join(place)}'", fault["type"]
    if problem == "value_error":
        return f"{name}: {text}"
    if problem == "extra_forbidden":
        known = list(models[min(len(place), len(models)) - 1].model_fields)
        hint = did_you_mean(place[-1], known)
        return f"{name} is unknown; {hint}there are {', '.join(known) or 'no options'}"
    problems = {"missing": "is missing", "tuple_type": "wants a list in brackets"}
    if not fault["input"]:
        problems["too_short"] = "is empty"
    if problem in problems:
        takes = models[0].model_fields[place[0]].description
        return f"{name} {problems[problem]}; it takes {takes}"
    names = [part for part in place if not part.isdecimal()]
    field = models[min(len(names), len(models)) - 1].model_fields.get(names[-1])
    if span := _span(fault, field):
        return f"{name} is a number {span}, not {fault['input']!r}"
    return f"{name} {text[:1].lower()}{text[1:]}; it is {fault['input']!r}"


def _span(fault: ErrorDetails, field: FieldInfo | None) -> str:
    """The bounds of a number, if it is they that a value breaks: `from 2 to 1000`."""
    broken: Any = fault.get("ctx", {}).items()
    words = {"ge": "from", "gt": "above", "le": "to", "lt": "below", "multiple_of": "in steps of"}
    if field is None or not broken:
        return ""
    for known in _constraints(field, field.annotation):
        if broken <= known.items():
            told = [f"{word} {known[key]}" for key, word in words.items() if key in known]
            return " ".join(told).replace(" below", " and below")
    return ""


def _constraints(*parts: Any) -> Iterator[dict[str, Any]]:
    """What annotations say of a value, one dictionary for each of the types that it may have."""
    for part in parts:
        told: Any = getattr(part, "metadata", None) or getattr(part, "__metadata__", ())
        if found := {
            key: getattr(one, key)
            for entry in told
            for one in (entry, *getattr(entry, "metadata", ()))
            for key in ("ge", "gt", "le", "lt", "multiple_of")
            if getattr(one, key, None) is not None
        }:
            yield found
        yield from _constraints(*get_args(part))


def _not_finite(options: Frozen, texts: dict[str, str]) -> list[str]:
    """Refuses NaN and infinity, which have no place in a hashed specification, and vast numbers."""
    given = ", ".join(f"{key}={text}" for key, text in texts.items())
    try:
        data = canonical_json(options)
    except ValueError:
        return [f"a number is not finite in {given}; give a finite one"]
    if _vast(json.loads(data)):
        return [f"a number is beyond {limits.SEED} in {given}; give a smaller one"]
    return []


def _vast(data: Any) -> bool:
    """Whether JSON-like data hold a whole number that 64 bits do not."""
    if isinstance(data, dict | list):
        return any(map(_vast, data.values() if isinstance(data, dict) else data))
    return isinstance(data, int) and abs(data) > limits.SEED


def _message(faults: list[str], what: str) -> str:
    """One line for one fault, a list for more."""
    if len(faults) == 1:
        return f"option of {what}: {faults[0]}"
    lines = "\n".join(f"  - {fault}" for fault in faults)
    return f"{len(faults)} faults in the options of {what}:\n{lines}"
