"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import lru_cache, wraps

import pytest
import torch
from tests.makers.images import smooth_images
from tests.makers.rounds import rounds
from tests.makers.rows import frame
from tests.makers.stores import lab
from tests.makers.studies import execute, prepared
from tests.makers.volumes import volumes

from contrabench.contracts.dataset import Case
from contrabench.datasets.phantom import Phantom, PhantomOptions
from contrabench.testing import make_case

__all__ = ["execute", "frame", "lab", "prepared", "rounds", "smooth_images", "volumes"]

os.environ.pop("CONTRABENCH_PLUGINS", None)
os.environ.pop("CONTRABENCH_STORE", None)
os.environ.pop("CONTRABENCH_CONFIG", None)


@pytest.fixture(autouse=True)
def _one_thread():
    """Small tensors are quicker on one thread, and bits do not depend on the machine.

    Set before each test: a command that runs inside the process leaves its own number behind.
    """
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_plug_in_stays():
    """A command that runs inside the process leaves its plug-ins in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTRABENCH_PLUGINS", os.environ.get("CONTRABENCH_PLUGINS", ""))
        yield


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """No test meets what the user has kept of an archive or a listing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def _each_heart_is_made_once():
    """The phantom takes a second a heart, and hundreds of tests begin with the same few."""
    make = Phantom.load

    @lru_cache(maxsize=24)
    def made(seed, name):
        return make(Phantom(options=PhantomOptions(seed=seed)), Case(id=name, patient=name))

    @wraps(make)
    def load(self, case):
        volume = made(self.options.seed, case.id)
        return replace(volume, image=volume.image.copy(), label=volume.label.copy())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Phantom, "load", load)
        yield


LONG = (
    "study/test_kill",
    "study/executors/",
    "methods/test_every_method",
    "training/test_multi_device",
    "training/test_sharding",
    "tests/test_docs",
    "exchange/test_merge",
    "tests/test_example",
)
"""Files that take long: begun first, so that no core waits for the last one at the end."""


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not any(part in item.nodeid for part in LONG))


def pytest_terminal_summary(terminalreporter):
    """Prints what tests have recorded, such as the kills survived, from every process."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{name}: {value}")


@pytest.fixture
def cases():
    """Ten labelled cases of ten patients, and an unlabelled one."""
    return [make_case(i) for i in range(10)] + [make_case(10, labelled=False)]
