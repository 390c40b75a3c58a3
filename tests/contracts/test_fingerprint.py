"""The hash of a plug-in's code: changed by code, by nothing else."""

from __future__ import annotations

import importlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from contrabench import plugins
from contrabench.contracts import discovery
from contrabench.contracts.fingerprint import fingerprint, normalised
from contrabench.errors import RequestError

module = sys.modules[fingerprint.__module__]

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
    monkeypatch.setenv(discovery.VARIABLE, "")
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


def test_a_neighbour_imported_in_a_function_counts(loose):
    source = SOURCE.replace("return", "from .neighbour import double\n        return")
    first = fingerprint(loose(source, neighbour="double = 2\n"))
    assert fingerprint(loose(source, neighbour="double = 2  # same\n")) == first
    assert fingerprint(loose(source, neighbour="double = 3\n")) != first


@pytest.fixture
def helpers(tmp_path, monkeypatch):
    """Writes modules into a folder of the search path; they are forgotten when the test ends."""
    home = tmp_path / "elsewhere"
    home.mkdir()
    monkeypatch.syspath_prepend(str(home))

    def put(**files):
        for name, text in files.items():
            file = home.joinpath(*name.split("__", 1)).with_suffix(".py")
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
        for name in [one for one in sys.modules if one.partition(".")[0] in ("aid", "kin")]:
            del sys.modules[name]
        importlib.invalidate_caches()

    yield put
    put()


@pytest.mark.parametrize(
    "way",
    ["import aid\n", "from aid import A\n", "from kin.deep import B\n", "import kin.deep\n"],
)
def test_a_module_from_anywhere_outside_of_the_libraries_counts(loose, helpers, way):
    files = {"aid": "A = 1\n", "kin____init__": "", "kin__deep": "from aid import A\nB = A\n"}
    seen = []
    for changed in ({}, {"aid": "A = 1  # same\n"}, {"aid": "A = 2\n"}):
        helpers(**files | changed)
        seen.append(fingerprint(loose(way + SOURCE)))
    assert seen[0] == seen[1] != seen[2]


def test_a_module_imported_in_a_function_alone_is_found_without_importing_it(loose, helpers):
    source = SOURCE.replace("return", "import aid\n        return")
    helpers(aid="raise RuntimeError\n")
    first = fingerprint(loose(source))
    assert "aid" not in sys.modules
    helpers(aid="raise ValueError\n")
    assert fingerprint(loose(source)) != first


def test_what_is_read_at_import_counts_and_where_it_lies_does_not(tmp_path, monkeypatch):
    source = (
        "import os\nfrom pathlib import Path\n"
        "DATA = Path(__file__).with_name('data.txt').read_text()\n"
        "TAU = os.environ.get('MY_TAU')\n" + SOURCE
    )
    monkeypatch.setenv(discovery.VARIABLE, "")
    monkeypatch.setattr(plugins, "__path__", list(plugins.__path__))
    plugins.__path__[:] = []

    def read(data, **variables):
        home = tmp_path / f"home{next(COUNT)}"
        home.mkdir()
        (home / "reader.py").write_text(source)
        (home / "data.txt").write_text(data)
        plugins.__path__[:] = []
        sys.modules.pop("contrabench.plugins.reader", None)
        with monkeypatch.context() as patch:
            patch.delenv("MY_TAU", raising=False)
            for name, value in variables.items():
                patch.setenv(name, value)
            patch.setenv(discovery.VARIABLE, str(home / "reader.py"))
            importlib.invalidate_caches()
            assert discovery.load_all() == []
        found = fingerprint(sys.modules["contrabench.plugins.reader"].Thing)
        del sys.modules["contrabench.plugins.reader"]
        return found

    assert read("1") == read("1")
    assert len({read("1"), read("2"), read("1", MY_TAU="0.5"), read("1", MY_TAU="1")}) == 4


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """Replaces the engine's losses; what they are made of here is never run, only read."""

    def put(**modules):
        home = tmp_path / f"objectives{next(COUNT)}"
        home.mkdir()
        for name, text in modules.items():
            (home / f"{name}.py").write_text(text)
        monkeypatch.setattr(module, "OBJECTIVES_FOLDER", home)

    return put


ENGINE = {
    "contrast": "from contrabench.objectives.heads import Head\ndef loss(x):\n    return x + 1\n",
    "heads": "def head():\n    from contrabench.objectives import base\n    WIDTH = 4\n",
    "base": "import contrabench.objectives.contrast as back\nLIMIT = 1\n",
    "queue": "SIZE = 3\n",
}
WAYS = {
    "from the module": "from contrabench.objectives.contrast import exact",
    "the module": "import contrabench.objectives.contrast",
    "the module by another name": "import contrabench.objectives.contrast as losses",
    "from the package": "from contrabench.objectives import contrast",
    "by a relative path": "from ..objectives.contrast import exact",
}


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_the_losses_that_a_plugin_imports_count(loose, engine, way, lazy):
    source = f"{WAYS[way]}\n{SOURCE}"
    if lazy:
        source = SOURCE.replace("return", f"{WAYS[way]}\n        return")

    def with_engine(**changed):
        engine(**ENGINE | changed)
        return fingerprint(loose(source))

    first = with_engine()
    assert with_engine() == first
    assert with_engine(queue="SIZE = 4\n") == first
    assert with_engine(contrast=ENGINE["contrast"] + "# more\n") == first
    changed = {with_engine(**{name: ENGINE[name] + "MORE = 1\n"}) for name in ENGINE}
    # The loss, the head that it imports and what this imports in a function; not the queue.
    assert len(changed) == 4
    assert first in changed
    assert fingerprint(loose(SOURCE)) not in changed


def test_the_losses_that_a_neighbour_or_a_base_imports_count(loose, engine):
    way = WAYS["from the module"]

    def hashes():
        yield fingerprint(loose("from .neighbour import A\n" + SOURCE, neighbour=f"{way}\nA = 1\n"))
        base = loose(f"{way}\n{SOURCE}")
        yield fingerprint(type("Child", (base,), {"__module__": base.__module__}))

    engine(**ENGINE)
    first = list(hashes())
    engine(**ENGINE | {"heads": "WIDTH = 5\n"})
    assert not set(first) & set(hashes())


def test_every_loss_of_the_engine_that_a_built_in_imports_is_found():
    """Beside what Python itself has imported for them, in a fresh process for each."""
    command = (
        "import sys\n"
        "from contrabench.contracts.registry import methods\n"
        "from contrabench.contracts.fingerprint import OBJECTIVES\n"
        "from contrabench.contracts.fingerprint import _code, _objective, _reached\n"
        "cls = methods.get(sys.argv[1])\n"
        "loaded = {n for n in sys.modules if n.startswith(OBJECTIVES + '.')}\n"
        "print(sorted(loaded - {OBJECTIVES + '.base'}))\n"
        "found = _reached(_code(cls).values(), _objective)\n"
        "print(sorted(set(found) - {OBJECTIVES + '.base'}))\n"
    )
    for name in ("gcl", "mmgl"):
        output = subprocess.run(
            [sys.executable, "-c", command, name], capture_output=True, text=True, check=True
        ).stdout
        loaded, found = output.splitlines()
        assert loaded == found
        assert "heads" in found


def test_a_class_is_read_once_and_a_reloaded_one_anew(loose, tmp_path):
    first = loose(SOURCE)
    known = fingerprint(first)
    file = Path(sys.modules[first.__module__].__file__)
    file.write_text(SOURCE.replace("2 + 1", "2 + 7"))
    assert fingerprint(first) == known
    del sys.modules[first.__module__]
    importlib.invalidate_caches()
    again = importlib.import_module(first.__module__).Thing
    assert fingerprint(again) == fingerprint(loose(SOURCE.replace("2 + 1", "2 + 7"))) != known


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
        "from contrabench.contracts.fingerprint import fingerprint\n"
        "from contrabench.contracts.registry import methods\n"
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
