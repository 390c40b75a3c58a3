"""What the names of cases tell of their patients, where nothing else does."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

_PATIENT = re.compile(
    r"(?P<before>(?:.*?[^a-z0-9])?)"
    r"(?P<word>(?:patient|pat|pt|p|subject|subj|sub|person|volunteer|case|heart)[-_ ]?)"
    r"\d+(?!\d)(?=.)",
    re.IGNORECASE,
)
"""The patient in `patient001_frame01`: a word for one and a number, with more after it."""
_MOMENT = re.compile(
    r"(?P<stem>.+)(?P<mark>[-_ .](?:(?P<phase>ed|es|(?:end[-_ ]?)?(?:dia|sys)tol(?:e|ic))|"
    r"(?:frame|phase|time|tp|t|visit|session|ses|day|week|month)[-_ ]?\d+|"
    r"baseline|follow[-_ ]?up|pre|post))",
    re.IGNORECASE,
)
"""A name that ends in a moment, such as `A0S9_ED` or `1001-visit2`."""


def shared_patient(names: Sequence[str]) -> tuple[str, str, str] | None:
    """Two cases whose names look like one patient's, and a pattern that finds patients in names.

    The one group of that regular expression is the patient. None if no two cases do; a stem that
    all names have is the study's, and nobody's in particular.
    """
    for stem_of, pattern_of in ((_patient, _by_word), (_before_moment, _by_moment)):
        cases: dict[str, list[str]] = defaultdict(list)
        for name in names:
            cases[stem_of(name) or name].append(name)
        both = next((found for found in cases.values() if len(found) > 1), None)
        if both is not None and len(cases) > 1:
            return both[0], both[1], pattern_of(names)
    return None


def _patient(name: str) -> str | None:
    found = _PATIENT.match(name)
    return found and found[0]


def _by_word(names: Sequence[str]) -> str:
    found = [_PATIENT.match(name) for name in names]
    patient = _either(re.escape(one["word"]) for one in found if one) + r"\d+"
    if any(one and one["before"] for one in found):
        patient = f".*?{patient}"
    if not all(found):
        return f"({patient}|.+)"
    rests = (name[one.end()] for name, one in zip(names, found, strict=True) if one)
    return f"({patient})_.*" if {*rests} == {"_"} else f"({patient})"


def _before_moment(name: str) -> str | None:
    """What stands before a moment; of the weaker ones only if it has a number, as patients have."""
    found = _MOMENT.fullmatch(name)
    known = found and (found["phase"] or re.search(r"\d", found["stem"]))
    return found["stem"] if found and known else None


def _by_moment(names: Sequence[str]) -> str:
    found = [_MOMENT.fullmatch(name) for name in names]
    marks = _either(re.sub(r"\d+", r"\\d+", re.escape(one["mark"])) for one in found if one)
    return f"(.+){marks}" if all(found) else f"(.+?)(?:{marks})?$"


def _either(patterns: Iterable[str]) -> str:
    """One pattern for all of them."""
    each = sorted(set(patterns))
    return each[0] if len(each) == 1 else f"(?:{'|'.join(each)})"
