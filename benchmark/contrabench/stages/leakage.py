"""What is known of weights from outside, and whether they have seen the patients that a run tests.

Whoever brings weights says it. Of a file that `bench export` has written the card beside it knows
better: it names the patients of their training, and they are compared with those of the test.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from contrabench.contracts.method import Seen
from contrabench.files import checksum, read_json
from contrabench.text import counted

if TYPE_CHECKING:
    from contrabench.stages.run import Run

CARD_FACTS = "config.json"
"""The file of an exported network that says what it is."""
_WORDS: dict[Seen, str] = {
    "no": "none of this dataset's test patients was in their training",
    "yes": "THIS DATASET'S TEST PATIENTS WERE IN THEIR TRAINING",
    "unknown": "whether this dataset's test patients were in their training is not known",
}


def outside_of(run: Run) -> dict[str, Any]:
    """What is known of the weights that a run begins with; empty for one that trains its own.

    `source`, `licence`, and `seen`: whether patients of its test were in their training, which is
    computed where the card allows it, and else what was declared. `told` are sentences for whoever
    reads a row.
    """
    asked = run.method.checkpoint()
    if asked is None:
        return {}
    card = _card(Path(asked.file))
    computed = _seen(card, run)
    seen = computed or asked.seen
    source = "; ".join(filter(None, (asked.source, _trained_on(card)))) or "not named"
    licence = asked.licence or str(card.get("terms") or "") or "not named"
    told = [f"weights from outside: {source}; licence: {licence}; {_WORDS[seen]}"]
    if computed and asked.seen not in (computed, "unknown"):
        told.append(
            f"whether the weights have seen test patients was declared as '{asked.seen}', and "
            f"their card says '{computed}': the card counts"
        )
    return {"source": source, "licence": licence, "seen": seen, "told": told}


def outside_spec(run: Run) -> dict[str, Any]:
    """The same as a part of the specification of what is recorded of a run."""
    found = outside_of(run)
    return {"outside": found} if found else {}


def _card(file: Path) -> dict[str, Any]:
    """The card beside a file, if it is that of this very file; else nothing."""
    found = read_json(file.parent / CARD_FACTS)
    files = found.get("files") if isinstance(found, dict) else None
    known = files.values() if isinstance(files, dict) else ()
    return found if known and checksum(file) in known else {}


def _trained_on(card: dict[str, Any]) -> str:
    """The training data in a few words."""
    if not card:
        return ""
    return f"{card['method']} on {counted(len(card['trained_on']), 'patient')} of {card['dataset']}"


def _seen(card: dict[str, Any], run: Run) -> Seen | None:
    """Whether patients of the test were trained on; None where the card does not tell.

    It does not of another dataset, of a folder that shares no patient at all, whose names may be
    others, nor of a network that began with weights from outside itself.
    """
    if not card:
        return None
    own = run.spec.dataset
    trained, tested = (_of(own, card, name) for name in ("trained_on", "tested_on"))
    if trained & {*run.split.test}:
        return "yes"
    shared = (trained | tested) & {*run.split.train, *run.split.test}
    others = card.get("outside") or card.get("from_outside")
    return "no" if shared and not others else None


def _of(dataset: str, card: dict[str, Any], which: str) -> set[str]:
    """The patients of a dataset among those of a card, where a pool's stand behind its name."""
    own, pool = card.get("registered"), card.get("pool")
    found = set()
    for name in card.get(which, ()):
        of_pool = bool(pool) and pool != own and name.startswith(f"{pool}:")
        if dataset == (pool if of_pool else own):
            found.add(name.removeprefix(f"{pool}:") if of_pool else name)
    return found
