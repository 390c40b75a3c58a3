"""Prepared volumes against their checksums, and the faults of a dataset's own files."""

from __future__ import annotations

from pathlib import Path

from contrabench.contracts.dataset import Dataset
from contrabench.data.cache import left_behind
from contrabench.data.reading import check_cases
from contrabench.doctor.findings import Finding, Looking, watched
from contrabench.errors import DataError
from contrabench.files import damage_of, size_of
from contrabench.progress import Reporter
from contrabench.text import counted, size_words

PREPARED = "prepared"


def check_prepared(store: Path, reporter: Reporter) -> Looking:
    """Compares every file of the prepared volumes with its checksum."""
    home = store / PREPARED
    folders = sorted(path for path in home.glob("[!.]*") if path.is_dir())
    for folder in watched(reporter, "prepared volumes", folders):
        if problem := damage_of(folder):
            yield Finding(
                "error",
                f"prepared volume {folder.name}: {problem}",
                "a disk or another program has changed it; a run notices and prepares it again",
                f"delete {folder}; the next run makes it anew",
            )
    return f"{counted(len(folders), 'volume')}, {size_words(size_of(home))}"


def check_unfinished(store: Path) -> Looking:
    """Finds what killed processes left while they prepared volumes."""
    stale, at_work = left_behind(store / PREPARED)
    if stale:
        yield Finding(
            "information",
            f"{counted(len(stale), 'unfinished prepared volume')} of killed processes, "
            f"{size_words(sum(map(size_of, stale)))}",
            "they are never read",
            "nothing: the next run that prepares data removes them",
        )
    return f"{at_work or 'none'} at work"


def check_dataset(dataset: Dataset, reporter: Reporter) -> Looking:
    """Reads every case of a dataset and tells all its faults; nothing is trained or kept."""
    try:
        cases = dataset.cases()
        with reporter.track("reading cases", len(cases)) as track:
            check_cases(dataset, lambda done, _total, case: track.advance(done, case))
    except DataError as error:
        for fault in error.faults:
            yield Finding("error", fault, "no run starts before it is mended")
        return "read"
    patients = len({case.patient for case in cases})
    labelled = sum(case.labelled for case in cases)
    return f"{counted(len(cases), 'case')} of {counted(patients, 'patient')}, {labelled} labelled"
