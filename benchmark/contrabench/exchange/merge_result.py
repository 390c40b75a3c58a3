"""What a merge of stores has done: taken, known already, and left out for a reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Verdict = Literal["taken", "replaced", "duplicate", "conflict", "refused", "busy"]


@dataclass(frozen=True)
class LeftOut:
    """What was not taken in, although it is not there already.

    Attributes:
        verdict: "conflict": ours has other rows and is kept; "refused": it is damaged or
            not what it says; "busy": another process makes the same in the target.
        folder: where it lies; the path of an archive goes on inside it.
        reason: in words.
    """

    verdict: Literal["conflict", "refused", "busy"]
    folder: Path
    reason: str


@dataclass
class MergeResult:
    """What a merge has done, or would do.

    Attributes:
        taken: number of folders taken in, by kind.
        replaced: of these, those that took the place of a damaged one of ours.
        duplicates: number of folders that were there already, by kind.
        left_out: what was not taken.
    """

    taken: dict[str, int] = field(default_factory=dict)
    replaced: dict[str, int] = field(default_factory=dict)
    duplicates: dict[str, int] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether everything finished in the sources is now in the target."""
        return not self.left_out

    def count(self, kind: str, verdict: Verdict) -> None:
        """Counts one folder that is in the target now."""
        if verdict == "duplicate":
            self.duplicates[kind] = self.duplicates.get(kind, 0) + 1
            return
        self.taken[kind] = self.taken.get(kind, 0) + 1
        if verdict == "replaced":
            self.replaced[kind] = self.replaced.get(kind, 0) + 1

    def add(self, part: MergeResult, store: Path, archive: Path) -> None:
        """Adds what a merge of one archive has done, told by the archive's own name.

        Args:
            part: of the merge of `store`.
            store: where the archive was unpacked.
            archive: its file.
        """
        for mine, other in (
            (self.taken, part.taken),
            (self.replaced, part.replaced),
            (self.duplicates, part.duplicates),
        ):
            for kind, number in other.items():
                mine[kind] = mine.get(kind, 0) + number
        for item in part.left_out:
            place = archive / item.folder.relative_to(store)
            self.left_out.append(LeftOut(item.verdict, place, item.reason))

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON-like data."""
        left = [
            {"verdict": item.verdict, "folder": str(item.folder), "reason": item.reason}
            for item in self.left_out
        ]
        return {
            "complete": self.complete,
            "taken": self.taken,
            "replaced": self.replaced,
            "duplicates": self.duplicates,
            "left_out": left,
        }
