"""Words for people: counts, sizes, lists, near names, errors in one line."""

from __future__ import annotations

import difflib
import json
import unicodedata
from collections.abc import Iterable, Sequence

from contrabench.errors import ContrabenchError, RequestError


def counted(number: int, noun: str) -> str:
    """A count as a reader would write it: `1 patient`, `4 patients`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def composed(name: str) -> str:
    """A name with its marked letters composed, however the machine that wrote it spells them."""
    return unicodedata.normalize("NFC", name)


def budget_words(budgets: Sequence[str]) -> str:
    """Label budgets as rows have them in a headline.

    `10%, 20% of the labels`, `labels of 3 patients`, or both with `and` between.
    """
    counts = [text for text in budgets if text.endswith((" patient", " patients"))]
    shares = [text for text in budgets if text not in counts]
    *most, last = counts or [""]
    words = [f"labels of {', '.join([*(text.split()[0] for text in most), last])}"] if last else []
    words += [f"{', '.join(shares)} of the labels"] if shares else []
    return " and ".join(words)


def asked_labels(budget: str) -> str:
    """A label budget of rows as it is asked for: `10%`, or `3` for `3 patients`."""
    return budget.removesuffix("s").removesuffix(" patient")


def size_words(size: float) -> str:
    """A number of bytes as a reader would write it: `512 B`, `1.4 GiB`."""
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:.1f}".removesuffix(".0") + f" {units[0]}"


def labels_words(labelled: Sequence[bool]) -> str:
    """How many volumes have labels, where not all do: `, 12 labelled, 40 more without labels`."""
    known = sum(labelled)
    more = len(labelled) - known
    return f", {known} labelled, {more} more without labels" if more else ""


def some(names: Iterable[object], most: int = 3) -> str:
    """The first few of some names, and how many more there are."""
    words = [str(name) for name in names]
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def listed_words(words: Sequence[str]) -> str:
    """Some words as a sentence has them: `a, b and c`."""
    *most, last = words or [""]
    return f"{', '.join(most)} and {last}" if most else last


def split_words(text: str) -> list[str]:
    """Splits a list at its commas, but not at those inside of brackets or double quotes."""
    return [part for part in split_parts(text, ",") if part]


def split_parts(text: str, between: str) -> list[str]:
    """What stands between some marks; nothing is a part, too.

    Not those inside of brackets, or of double quotes, if each one that opens is closed.
    """
    parts, depth, quotes, open_quote = [""], 0, text.count('"') % 2 == 0, False
    for mark in text:
        if mark == '"' and quotes:
            open_quote = not open_quote
        if not open_quote:
            depth += {"[": 1, "]": -1}.get(mark, 0)
        if mark == between and depth == 0 and not open_quote:
            parts.append("")
        else:
            parts[-1] += mark
    return [part.strip() for part in parts]


def kept_whole(text: str) -> str:
    """A text in quotes, as JSON has them, if a list would be split or closed inside of it."""
    return json.dumps(text, ensure_ascii=False) if set(text) & set(',[]"') else text


def did_you_mean(word: str, known: Iterable[str], most: int = 1) -> str:
    """`did you mean 'a' or 'b'? ` of the names that look like a word; empty if none does."""
    near = difflib.get_close_matches(word, list(known), n=most)
    return f"did you mean {' or '.join(map(repr, near))}? " if near else ""


def unique_beginning(beginning: str, known: Iterable[str], what: str, hint: str) -> str:
    """The one name that begins as was typed, or a RequestError, with a sentence on what to do.

    `what` says what the names name and where, e.g. `run in contrabench-runs`.
    """
    names = list(known)
    fitting = [name for name in names if name.startswith(beginning)]
    if len(fitting) == 1:
        return fitting[0]
    number = "more than one" if fitting else "no"
    there = ", ".join(fitting or names) or "none"
    raise RequestError(f"{number} {what} begins with '{beginning}'; there are: {there}. {hint}")


def printable(text: str) -> str:
    """A text in which control characters are written as escapes, as in programs.

    So no name of a file or plug-in breaks a line or speaks to a terminal. The lines of a list of
    faults stay lines.
    """
    return "\n  - ".join(
        "".join(mark if mark.isprintable() else repr(mark)[1:-1] for mark in part)
        for part in text.split("\n  - ")
    )


def one_line(error: BaseException) -> str:
    """What went wrong in one line; the type's name is given where the text needs it."""
    text = " ".join(str(error).split())
    if isinstance(error, ContrabenchError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
