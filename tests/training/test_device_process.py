"""Errors on their way to another process."""

import pickle

import pytest
import torch

from contrabench.errors import AuditError, DataError, RequestError
from contrabench.training.device_process import pack, unpack


def sent(error):
    try:
        raise error
    except Exception as raised:
        found = unpack(pickle.loads(pickle.dumps(pack(raised, 1))))
    note = vars(found).pop("__notes__")[0]
    assert note.startswith("In rank 1:\nTraceback")
    assert "in sent" in note
    return found


@pytest.mark.parametrize(
    "error", [AuditError(4, "planted"), DataError(["one", "two"]), RequestError("no such thing")]
)
def test_those_of_this_package_come_back_as_they_are(error):
    found = sent(error)
    assert (type(found), str(found), vars(found)) == (type(error), str(error), vars(error))


def test_a_strangers_own_kind_comes_back_as_the_nearest_one():
    class Own(AuditError):
        pass

    class Other(ValueError):
        def __init__(self, one, two):
            super().__init__(f"{one} and {two}")

    found = sent(Own(2, "planted"))
    assert (type(found), found.rule, str(found)) == (AuditError, 2, "audit rule 2: planted")
    found = sent(Other("first", "second"))
    assert (type(found), str(found)) == (ValueError, "first and second")


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("too large"), OSError(28, "No space left on device")]
)
def test_what_ran_out_is_told(error):
    found = sent(error)
    assert (type(found), str(found)) == (type(error), str(error))
