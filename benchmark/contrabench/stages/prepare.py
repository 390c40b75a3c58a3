"""Preparation: every volume of a dataset a stage of its own, before any run is planned on them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from contrabench.contracts.dataset import Case, Dataset
from contrabench.contracts.fingerprint import fingerprint as code_of
from contrabench.data.facts import told, unseen_line
from contrabench.data.likeness import Likeness, shared_hearts
from contrabench.data.prepare import PREPARE_VERSION, PreparedCase, open_case, prepare_case
from contrabench.data.reading import checked_structures, for_each_case, list_cases
from contrabench.data.untaken import untaken_line
from contrabench.errors import DataError, RequestError
from contrabench.files import checksum, read_json, write_text
from contrabench.progress import Reporter
from contrabench.stages import audit
from contrabench.stages.run import Run
from contrabench.stages.run_spec import RunSpec
from contrabench.store.stages import PREPARE, StageStore, home_of
from contrabench.text import counted

_TOLD = 5
_SETTLED = 2_000_000_000
"""Nanoseconds: a younger file may change again without a new time stamp."""


def prepare_run(
    spec: RunSpec, root: Path | None, pool_root: Path | None, store: Path, reporter: Reporter
) -> list[PreparedCase]:
    """The volumes of a run: its dataset's, then the images of the dataset that it takes as pool.

    Raises:
        RequestError: if the pool holds the dataset's own images alone.
        DataError: as `prepare`, and for each volume of the pool that is the heart of a patient of
            the dataset under another name.
    """
    pixels, own = spec.budget.pixels, spec.open_dataset(root)
    cases = prepare(own, spec.dataset, pixels, store, reporter)
    if not any(case.labelled for case in cases):
        raise own.misplaced("no image has a label, so nothing could be tested")
    if spec.pool:
        other = spec.open_pool(pool_root)
        pooled = prepare(other, spec.pool, pixels, store, reporter, as_pool=True)
        if {case.image_hash for case in pooled} <= {case.image_hash for case in cases}:
            raise RequestError(
                f"the pool '{spec.pool}' holds no image that '{spec.dataset}' has not, and those "
                "without labels are trained on anyway; leave --pool out, or name another folder: "
                "--pool DATASET:FOLDER"
            )
        cases += [_renamed(spec, case) for case in pooled]
        if faults := shared_hearts([(case.as_case, case.likeness) for case in cases]):
            raise DataError(faults, where=f"{own.info.title} with {other.info.title} as pool")
    return cases


def unseen_lines(
    specs: Iterable[RunSpec], cases: list[PreparedCase], root: Path | None
) -> list[str]:
    """A line for each choice of labelled patients that lacks a structure which others have."""
    found: dict[str, None] = {}
    chosen = set()
    some = {index for case in cases for index in case.classes}
    for spec in specs:
        which = spec.model_dump_json(include={"labels", "folds", "split", "fold", "draw", "seeds"})
        if which in chosen:
            continue
        chosen.add(which)
        run = Run(spec, cases, root)
        seen = {index for case in cases if run.masked(case) for index in case.classes}
        seen |= {*range(1, run.classes)} - some
        whose = f"labelled patient of fold {spec.fold}, {run.manifest.labels}, draw {spec.draw}"
        found.update(dict.fromkeys(unseen_line(run.dataset.structures, seen, whose)))
    lines = list(found)
    more = f"so it is in {counted(len(lines) - _TOLD, 'other choice')} of labelled patients"
    return [*lines[:_TOLD], more] if len(lines) > _TOLD else lines


def listed(spec: RunSpec, root: Path | None, pool_root: Path | None) -> list[bool]:
    """Whether each volume of a run has a label that counts; DataError if a file is missing."""
    cases = list_cases(spec.open_dataset(root))
    others = list_cases(spec.open_pool(pool_root)) if spec.pool else []
    return [case.labelled for case in cases] + [False for _ in others]


def _renamed(spec: RunSpec, case: PreparedCase) -> PreparedCase:
    """A case of the pool, with names that no case of the dataset has.

    Of one and the same dataset, a patient's name is the same patient's; of another one it is not.
    """
    patient = case.patient if spec.pool == spec.dataset else f"{spec.pool}:{case.patient}"
    return replace(case, case=f"{spec.pool}:{case.case}", patient=patient, pool=spec.pool)


def prepare(
    dataset: Dataset,
    name: str,
    pixels: int,
    store: Path,
    reporter: Reporter,
    as_pool: bool = False,
) -> list[PreparedCase]:
    """Prepares every case of a dataset, in its order, or takes it from the store.

    `name` is the registered one, `pixels` the working grid's side in voxels. All faults are found
    on the way and told together: a run starts with sound data or not at all. What is no fault and
    yet worth knowing is told afterwards. As a pool it gives its images alone, and its labels are
    not even read.

    Raises:
        DataError: with one line for each fault of the input.
        AuditError: rule 6, if a label has values that its file has not.
        RunError: if the dataset's code breaks off.
    """
    stages = StageStore(store, _Once(reporter))
    index = FileIndex(home_of(store, PREPARE) / "index.json")
    cases, structures = list_cases(dataset), () if as_pool else checked_structures(dataset)
    worth_knowing = [*untaken_line(dataset, cases)]
    if as_pool:
        cases = [replace(case, label=None, labelled=False) for case in cases]
    common = {
        "dataset": name,
        "version": dataset.info.version,
        "code": code_of(type(dataset)),
        "options": dataset.options.model_dump(mode="json"),
        "structures": [structure.model_dump() for structure in structures],
        "recipe": dataset.recipe.model_dump(mode="json"),
        "pixels": pixels,
        "prepare": PREPARE_VERSION,
    }

    def obtain(case: Case) -> tuple[PreparedCase, Likeness]:
        try:
            content = index.fingerprint_of(dataset, case)
        except OSError as error:
            raise DataError([f"{case.id}: a file cannot be read ({error})"], case.id) from error
        spec = {**common, "case": case.id, "labelled": case.labelled, "content": content}
        home = stages.run(PREPARE, spec, partial(prepare_case, dataset, case, pixels))
        prepared = open_case(case, home)
        return prepared, prepared.likeness

    try:
        title = "preparation of the pool" if as_pool else "preparation"
        prepared = for_each_case(cases, dataset.info.title, obtain, title, reporter)
    finally:
        index.save()
    audit.check_labels(prepared, len(structures) + 1)
    worth_knowing += told(prepared, structures, dataset.recipe.field_of_view_mm)
    for line in worth_knowing:
        reporter.line(f"  {line}")
    return prepared


class _Once(Reporter):
    """Tells a line once: a process that prepares the same volumes is waited for at each of them."""

    def __init__(self, reporter: Reporter) -> None:
        self.tell = cache(reporter.line)

    def line(self, text: str) -> None:
        """Prints a line that is new."""
        self.tell(text)


class FileIndex:
    """SHA-256 of files by path, size, place on disk and times of change, kept in a JSON file.

    So gigabytes need not be read at every start, and of two files that swap their names each is
    known for what it is. One that is missing or damaged counts as empty.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._known, self._new = path, _read(path), dict[str, str]()

    def fingerprint_of(self, dataset: Dataset, case: Case) -> str:
        """The dataset's fingerprint of a case; OSError if a file cannot be read."""
        if type(dataset).fingerprint is not Dataset.fingerprint:
            return dataset.fingerprint(case)
        # As the default does, from hashes that are known.
        return dataset.content(case, self.sha256)

    def sha256(self, path: Path) -> str:
        """Hash of a file's bytes, read only if the file is new or has changed."""
        status = path.stat()
        changed = max(status.st_mtime_ns, status.st_ctime_ns)
        stamp = (
            f"{path.resolve()} {status.st_size} {status.st_ino} {status.st_mtime_ns} "
            f"{status.st_ctime_ns}"
        )
        if stamp in self._known:
            return self._known[stamp]
        settled = time.time_ns() - changed > _SETTLED
        value = checksum(path)
        if settled:
            self._known[stamp] = self._new[stamp] = value
        return value

    def save(self) -> None:
        """Adds the new hashes to the file, if it can be written, and leaves those of others."""
        if self._new:
            with suppress(OSError):
                write_text(self._path, json.dumps(_read(self._path) | self._new, indent=0))


def _read(path: Path) -> dict[str, str]:
    found = read_json(path)
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}
