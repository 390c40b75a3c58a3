"""The faults of a dataset's own files."""

from __future__ import annotations

from contrabench.contracts.dataset import Dataset
from contrabench.data.reading import check_cases
from contrabench.doctor.findings import Finding, Looking
from contrabench.errors import DataError
from contrabench.progress import Reporter
from contrabench.text import counted


def check_dataset(dataset: Dataset, reporter: Reporter) -> Looking:
    """Reads every case of a dataset and tells all its faults; nothing is trained or kept."""
    try:
        cases = dataset.cases()
        check_cases(dataset, reporter)
    except DataError as error:
        for fault in error.faults:
            yield Finding("error", fault, "no run starts before it is mended")
        return "read"
    patients = len({case.patient for case in cases})
    labelled = sum(case.labelled for case in cases)
    return f"{counted(len(cases), 'case')} of {counted(patients, 'patient')}, {labelled} labelled"
