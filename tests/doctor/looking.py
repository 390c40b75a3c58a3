"""One check by itself, as the doctor carries it out."""

from functools import partial

from contrabench.doctor.findings import look


def look_at(check, *asked):
    return look("area", "title", partial(check, *asked))


def findings_of(check, *asked):
    return look_at(check, *asked).findings
