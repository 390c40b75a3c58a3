"""Prepared volumes against their hashes, and the faults of a dataset's own files."""

from __future__ import annotations

from pathlib import Path

from contrabench.contracts.dataset import Dataset
from contrabench.data.reading import check_cases
from contrabench.doctor.disk import is_locked, size_of
from contrabench.doctor.findings import Check, Finding, Severity, watched
from contrabench.errors import DataError
from contrabench.files import damage_of, is_temporary
from contrabench.progress import Reporter
from contrabench.text import counted, size_words

PREPARED = "prepared"


def check_prepared(store: Path, reporter: Reporter) -> Check:
    """Compares every file of the prepared volumes with its checksum."""
    title = "prepared volumes against their checksums"
    home = store / PREPARED
    folders = sorted(path for path in home.glob("[!.]*") if path.is_dir())
    findings = []
    for folder in watched(reporter, title, folders):
        if problem := damage_of(folder):
            finding = Finding(
                Severity.error,
                f"prepared volume {folder.name}: {problem}",
                "a disk or another program has changed it; a run notices and prepares it again",
                f"delete {folder}; the next run makes it anew",
            )
            findings.append(finding)
    seen = f"{counted(len(folders), 'volume')}, {size_words(size_of(home))}"
    return Check(title, seen if folders else "none yet", tuple(findings))


def check_unfinished(store: Path) -> Check:
    """Finds what killed processes left while they prepared volumes."""
    temporary = [path for path in (store / PREPARED).glob(".*") if is_temporary(path)]
    stale = [path for path in temporary if not is_locked(_lock_of(path))]
    findings = []
    if stale:
        size = size_words(sum(size_of(path) for path in stale))
        finding = Finding(
            Severity.information,
            f"{counted(len(stale), 'unfinished prepared volume')} of killed processes, {size}",
            "they are never read",
            "nothing: the next run that prepares data removes them",
        )
        findings.append(finding)
    at_work = len(temporary) - len(stale)
    return Check("unfinished preparation", f"{at_work or 'none'} at work", tuple(findings))


def _lock_of(temporary: Path) -> Path:
    """The lock under which a prepared folder with this temporary name is made."""
    return temporary.with_name(f"{temporary.name[1:].split('.')[0]}.lock")


def check_dataset(dataset: Dataset, reporter: Reporter) -> Check:
    """Reads every case of a dataset and tells all its faults; nothing is trained or kept."""
    title = f"files of {dataset.info.title}"
    try:
        cases = dataset.cases()
        with reporter.track("reading cases", len(cases)) as track:
            check_cases(dataset, lambda done, _total, case: track.advance(done, case))
    except DataError as error:
        findings = tuple(
            Finding(Severity.error, fault, "no run starts before it is mended")
            for fault in error.faults
        )
        return Check(title, "read", findings)
    patients = len({case.patient for case in cases})
    labelled = sum(case.labelled for case in cases)
    seen = f"{counted(len(cases), 'case')} of {counted(patients, 'patient')}, {labelled} labelled"
    return Check(title, seen)
