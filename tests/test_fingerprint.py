"""The hash of a plug-in's code: changed by code, by nothing else."""

from __future__ import annotations

import importlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from contrabench import plugin_paths, plugins
from contrabench.errors import RequestError
from contrabench.fingerprint import fingerprint, normalised

COUNT = itertools.count()
SOURCE = '''\
"""A module."""

# a comment
class Thing:
    """A class."""

    info = "thing"

    def size(self, x):
        """A method."""
        return x * 2 + 1
'''


@pytest.fixture
def loose(tmp_path, monkeypatch):
    """Writes sources beside each other and returns the class as a path plug-in has it."""
    monkeypatch.setenv(plugin_paths.VARIABLE, "")
    monkeypatch.setattr(plugins, "__path__", list(plugins.__path__))

    def load(source, **neighbours):
        home = tmp_path / f"folder{next(COUNT)}"
        home.mkdir()
        for name, text in neighbours.items():
            (home / f"{name}.py").write_text(text)
        (home / "thing.py").write_text(source)
        for name in ("thing", *neighbours):
            sys.modules.pop(f"contrabench.plugins.{name}", None)
            vars(plugins).pop(name, None)
        plugins.__path__[:] = [str(home)]
        importlib.invalidate_caches()
        return importlib.import_module("contrabench.plugins.thing").Thing

    yield load
    for name in [name for name in sys.modules if name.startswith("contrabench.plugins.")]:
        del sys.modules[name]
        vars(plugins).pop(name.rpartition(".")[2], None)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a comment", "# another one"),
        ("# a comment\n", ""),
        ('"""A module."""', '"""Something else."""'),
        ('    """A class."""\n', ""),
        ('        """A method."""\n', "        'Another text.'\n"),
        ("x * 2 + 1", "(x*2)  +  1"),
        ('"thing"', "'thing'"),
        ("\n\n", "\n\n\n\n"),
        ("return x * 2 + 1", "return (\n            x * 2\n            + 1  # why\n        )"),
    ],
)
def test_text_about_the_code_does_not_count(loose, old, new):
    assert old in SOURCE
    assert fingerprint(loose(SOURCE)) == fingerprint(loose(SOURCE.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x * 2 + 1", "x * 2 + 2"),
        ("x * 2 + 1", "x * (2 + 1)"),
        ("def size(self, x)", "def size(self, x=0)"),
        ('info = "thing"', 'info = "other"'),
        ("class Thing:", "LIMIT = 3\nclass Thing:"),
    ],
)
def test_code_counts(loose, old, new):
    assert old in SOURCE
    assert fingerprint(loose(SOURCE)) != fingerprint(loose(SOURCE.replace(old, new)))


def test_the_folder_does_not_count(loose):
    first, second = loose(SOURCE), loose(SOURCE)
    assert sys.modules["contrabench.plugins.thing"].Thing is second
    assert first is not second
    assert fingerprint(first) == fingerprint(second)


def test_an_imported_neighbour_counts_and_another_does_not(loose):
    source = "from .neighbour import double\n" + SOURCE
    helper = "from . import deeper\ndef double(x):\n    return deeper.FACTOR * x\n"
    files = {"neighbour": helper, "deeper": "FACTOR = 2\n", "stranger": "A = 1\n"}
    first = fingerprint(loose(source, **files))
    assert fingerprint(loose(source, **files | {"stranger": "A = 2\n"})) == first
    assert fingerprint(loose(source, **files | {"deeper": "FACTOR = 3\n"})) != first
    assert fingerprint(loose(source, **files | {"neighbour": helper + "B = 1\n"})) != first


def test_a_plugin_that_inherits_from_another_has_its_code_in_the_hash(loose, monkeypatch):
    def child(base_source):
        base = loose(base_source)
        module = type(sys)("my_child")
        monkeypatch.setitem(sys.modules, "my_child", module)
        cls = type("Child", (base,), {"__module__": "my_child"})
        file = Path(__file__).with_name("test_options.py")
        monkeypatch.setattr(module, "__file__", str(file), raising=False)
        return fingerprint(cls)

    assert child(SOURCE) == child(SOURCE + "# more\n")
    assert child(SOURCE) != child(SOURCE.replace("2 + 1", "3 + 1"))


def test_every_module_of_an_installed_package_counts(tmp_path, monkeypatch):
    hashes = []
    for number, extra in enumerate(["A = 1\n", "A = 1  # same\n", "A = 2\n"]):
        site = tmp_path / str(number)
        (site / "a_dist" / "deep").mkdir(parents=True)
        (site / "a_dist" / "__init__.py").write_text("")
        (site / "a_dist" / "main.py").write_text(SOURCE)
        (site / "a_dist" / "deep" / "inner.py").write_text(extra)
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(site))
            for name in ("a_dist", "a_dist.main"):
                sys.modules.pop(name, None)
            importlib.invalidate_caches()
            hashes.append(fingerprint(importlib.import_module("a_dist.main").Thing))
    for name in ("a_dist", "a_dist.main"):
        sys.modules.pop(name, None)
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_class_without_source_is_refused():
    namespace = {"__name__": "made_up"}
    module = type(sys)("made_up")
    sys.modules["made_up"] = module
    try:
        exec("class Thing:\n    info = 1\n", namespace)
        with pytest.raises(RequestError, match="Thing has no source"):
            fingerprint(namespace["Thing"])
    finally:
        del sys.modules["made_up"]


def test_other_processes_and_hash_seeds_agree():
    command = (
        "from contrabench.fingerprint import fingerprint\n"
        "from contrabench.catalogue import methods\n"
        "print(fingerprint(methods.get('scratch')))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", command],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    (text,) = found
    assert len(text.strip()) == 16
    int(text, 16)


def test_normalised_keeps_strings_that_are_values():
    source = "x = 'kept'\ndef f():\n    'gone'\n    return 'kept too'\n"
    text = normalised(source)
    assert "gone" not in text
    assert "kept" in text
    assert "kept too" in text


def test_a_body_of_nothing_but_a_docstring_stays_valid():
    assert normalised("class A:\n    '''text'''\n") == normalised("class A:\n    pass\n")
