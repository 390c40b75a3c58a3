"""Plug-ins by path: found, named, isolated, and importable in worker processes."""

from __future__ import annotations

import importlib
import itertools
import os
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path

import pytest

from contrabench import plugins
from contrabench.contracts import discovery, registry
from contrabench.contracts.registry import Registry
from contrabench.errors import RequestError

COUNT = itertools.count()
ROOT = Path(__file__).parents[2]


@pytest.fixture
def things(tmp_path, monkeypatch):
    """An empty registry in place of the methods, so that no other test sees the plug-ins."""
    package = f"empty_content_{next(COUNT)}"
    (tmp_path / "site" / package).mkdir(parents=True)
    (tmp_path / "site" / package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    own = Registry("method", package)
    monkeypatch.setattr(registry, "methods", own)
    # Once asked for, the public name is the package's own attribute.
    monkeypatch.setattr("contrabench.register_method", own.register)
    monkeypatch.setenv(discovery.VARIABLE, "")
    monkeypatch.setattr(plugins, "__path__", list(plugins.__path__))
    return own


def stem() -> str:
    """A module name that no other test has imported."""
    return f"plug_{os.getpid()}_{next(COUNT)}"


def write(file: Path, name: str, extra: str = "") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        "from contrabench import register_method\n"
        f"@register_method('{name}')\n"
        f"class Thing:\n    info = '{name}'\n" + extra
    )
    return file


def test_a_file_becomes_a_submodule(things, tmp_path):
    name = stem()
    file = write(tmp_path / "here" / f"{name}.py", "mine")
    discovery.add(file)
    value = things.get("mine")
    assert value.__module__ == f"contrabench.plugins.{name}"
    assert importlib.import_module(value.__module__).Thing is value
    (entry,) = things.entries()
    assert entry.origin == f"{file}:2"


def test_the_environment_variable_alone_is_enough(things, tmp_path, monkeypatch):
    first, second = (write(tmp_path / part / f"{stem()}.py", part) for part in ("a", "b"))
    monkeypatch.setenv(discovery.VARIABLE, f"{first}{os.pathsep}{second}")
    assert things.names() == ["a", "b"]


def test_add_extends_the_variable_and_keeps_each_path_once(things, tmp_path, monkeypatch):
    first, second = (write(tmp_path / f"{stem()}.py", part) for part in ("a", "b"))
    monkeypatch.setenv(discovery.VARIABLE, str(first))
    monkeypatch.chdir(tmp_path)
    discovery.add(Path(second.name))
    discovery.add(first)
    assert os.environ[discovery.VARIABLE] == f"{first}{os.pathsep}{second}"


def test_a_folder_stands_for_its_files(things, tmp_path):
    home = tmp_path / "folder"
    write(home / f"{stem()}.py", "a")
    write(home / f"{stem()}.py", "b")
    (home / "_private.py").write_text("raise RuntimeError('must not be imported')")
    discovery.add(home)
    assert things.names() == ["a", "b"]
    assert things.entries()[0].error is None


def test_a_folder_with_init_is_one_package(things, tmp_path):
    name = stem()
    home = tmp_path / name
    write(home / "inner.py", "deep", "LIMIT = 7\n")
    (home / "other.py").write_text("raise RuntimeError('nobody imports me')")
    (home / "__init__.py").write_text("from .inner import LIMIT\n")
    discovery.add(home)
    assert things.names() == ["deep"]
    assert things.get("deep").__module__ == f"contrabench.plugins.{name}.inner"


def test_a_file_may_import_its_neighbour(things, tmp_path):
    helper = stem()
    (tmp_path / f"{helper}.py").write_text("SIZE = 3\n")
    file = write(tmp_path / f"{stem()}.py", "with-help", "    size = SIZE\n")
    file.write_text(f"from .{helper} import SIZE\n" + file.read_text())
    discovery.add(file)
    assert things.get("with-help").size == 3


def test_same_stem_in_two_folders_names_both(things, tmp_path):
    name = stem()
    first, second = (write(tmp_path / part / f"{name}.py", part) for part in ("a", "b"))
    discovery.add(first)
    with pytest.raises(RequestError) as caught:
        discovery.add(second)
    assert str(first) in str(caught.value)
    assert str(second) in str(caught.value)
    assert os.environ[discovery.VARIABLE] == str(first)


def test_a_file_hidden_by_a_neighbour_of_another_is_not_taken_for_it(things, tmp_path):
    name = stem()
    write(tmp_path / "a" / f"{name}.py", "wrong")
    write(tmp_path / "b" / f"{name}.py", "right")
    discovery.add(write(tmp_path / "a" / f"{stem()}.py", "first"))
    discovery.add(tmp_path / "b" / f"{name}.py")
    assert things.names() == ["first"]
    (error,) = discovery.load_all()
    assert "is hidden by" in error.reason
    assert str(tmp_path / "a" / f"{name}.py") in error.reason


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere.py", "does not exist"),
        ("notes.txt", r"is not a \.py file"),
        ("empty", "holds no Python file"),
        ("my-method.py", "rename it"),
    ],
)
def test_a_path_without_a_plugin_is_refused(things, tmp_path, path, message):
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "my-method.py").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match=message) as caught:
        discovery.add(tmp_path / path)
    assert str(tmp_path / path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert os.environ[discovery.VARIABLE] == ""


def test_a_broken_file_is_listed_everywhere_and_hurts_nobody(things, tmp_path, monkeypatch):
    bad = tmp_path / f"{stem()}.py"
    bad.write_text("import a_module_that_is_not_there\n")
    discovery.add(bad)
    discovery.add(write(tmp_path / "other" / f"{stem()}.py", "good"))
    for kind in (things, registry.reports):
        (entry,) = [entry for entry in kind.entries() if entry.name == bad.stem]
        assert entry.origin == str(bad)
        assert "a_module_that_is_not_there" in entry.error
    assert things.names() == ["good"]
    with pytest.raises(RequestError, match="a_module_that_is_not_there"):
        things.get(bad.stem)
    with pytest.raises(RequestError, match=f"Not usable: {bad.stem}"):
        things.get("what-the-bad-file-would-have-registered")


def test_a_file_that_takes_a_name_is_a_collision_with_both_places(things, tmp_path):
    first, second = (write(tmp_path / f"{stem()}.py", "same") for _ in range(2))
    discovery.add(first)
    discovery.add(second)
    with pytest.raises(RequestError) as caught:
        things.get("same")
    assert f"{first}:2" in str(caught.value)
    assert f"{second}:2" in str(caught.value)


def test_names_of_the_loader_are_free_for_plugins(things, tmp_path):
    file = write(tmp_path / "discovery.py", "awkward")
    discovery.add(file)
    assert things.get("awkward").info == "awkward"
    discovery.add(write(tmp_path / "more" / f"{stem()}.py", "later"))
    assert things.names() == ["awkward", "later"]


def test_spawned_workers_unpickle_a_plugins_class(tmp_path, monkeypatch):
    monkeypatch.setenv(discovery.VARIABLE, "")
    monkeypatch.setattr(plugins, "__path__", list(plugins.__path__))
    name = stem()
    (tmp_path / f"{name}.py").write_text(
        "class Counter:\n    def __call__(self, x):\n        return x + 1\n"
    )
    discovery.add(tmp_path / f"{name}.py")
    assert discovery.load_all() == []
    counter = importlib.import_module(f"contrabench.plugins.{name}").Counter()
    with get_context("spawn").Pool(1) as pool:
        assert pool.map_async(counter, [1, 2]).get(timeout=60) == [2, 3]


def test_a_stale_variable_does_not_stop_the_package_from_importing():
    environment = {**os.environ, discovery.VARIABLE: "/nowhere/at/all.py"}
    command = "import contrabench.plugins, contrabench.contracts.discovery as p; p.load_all()"
    done = subprocess.run(
        [sys.executable, "-c", command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "RequestError: plug-in /nowhere/at/all.py does not exist" in done.stderr


def test_the_example_file_is_a_method_that_trains_and_conforms(tmp_path, monkeypatch, things):
    from contrabench.testing import assert_conforms

    torch = pytest.importorskip("torch")
    discovery.add(ROOT / "examples" / "loose_method.py")
    method = things.get("quarter_turns")()
    # Equal images: what is learnt is the turn, and labels in a wrong order cannot be learnt.
    check_trains(torch, method, torch.linspace(-1, 1, 32).expand(4, 1, 32, 32))
    assert_conforms(ROOT / "examples" / "loose_method.py")


def test_the_example_package_is_found_through_its_entry_point(things, tmp_path, monkeypatch):
    """Lays out what an installer would, under the group of the fresh registry."""
    torch = pytest.importorskip("torch")
    import tomllib

    home = ROOT / "examples" / "contrabench-slice-order"
    project = tomllib.loads((home / "pyproject.toml").read_text())["project"]
    points = project["entry-points"]["contrabench.methods"]
    info = tmp_path / "site" / "contrabench_slice_order-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = [f"[{things.package}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(home))
    importlib.invalidate_caches()
    (entry,) = things.entries()
    assert (entry.name, entry.origin) == ("slice_order", "contrabench-slice-order 0.1.0")
    torch.manual_seed(0)
    check_trains(torch, things.get("slice_order")(), torch.randn(4, 1, 32, 32))


def test_the_example_package_passes_the_tests_that_it_brings():
    home = ROOT / "examples" / "contrabench-slice-order"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(home), discovery.VARIABLE: ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


def check_trains(torch, method, image) -> None:
    """The loss is finite, reaches every head and part that is trained, and falls."""
    from contrabench import Batch
    from contrabench.contracts.views import SliceInfo, View
    from contrabench.model.weights import build_backbone
    from contrabench.protocol import BackboneSpec

    torch.manual_seed(0)
    backbone = build_backbone(BackboneSpec(width=4), init_seed=0)
    (stage,) = method.stages()
    objective = method.objective(stage, backbone)
    zeros = torch.zeros(4, dtype=torch.long)
    position = torch.tensor([0.25, 0.5, 0.75, 1.0])
    info = SliceInfo(zeros, zeros, zeros, position, torch.arange(4), zeros)
    batch = Batch((View(image, None),), info)
    parameters = [*objective.parameters()]
    for part in stage.trains:
        parameters += backbone.part(part).parameters()
    optimiser = torch.optim.AdamW(parameters, lr=3e-3)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = objective(backbone, batch).loss
        loss.backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in objective.parameters())
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
