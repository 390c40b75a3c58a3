"""The registry against fake content: what is imported when, and what an error says."""

from __future__ import annotations

import importlib
import itertools
import sys
import threading
from pathlib import Path
from textwrap import dedent

import pytest

from contrabench.contracts.registry import Registry, methods
from contrabench.errors import RequestError

COUNT = itertools.count()


class Content:
    """A package on disk whose modules register things."""

    def __init__(self, folder: Path) -> None:
        self.package = f"fake_content_{next(COUNT)}"
        self.site = folder
        self.folder = folder / self.package / "things"
        self.folder.mkdir(parents=True)
        (folder / self.package / "__init__.py").write_text("")
        (self.folder / "__init__.py").write_text("")
        (folder / self.package / "registry.py").write_text(
            "from contrabench.contracts.registry import Registry\n"
            f"things = Registry('thing', '{self.package}.things')\n"
        )

    @property
    def registry(self) -> Registry:
        return importlib.import_module(f"{self.package}.registry").things

    def source(self, name: str, extra: str = "", cls: str = "Thing") -> str:
        return dedent(f"""\
            from {self.package}.registry import things

            @things.register("{name}")
            class {cls}:
                info = "{name}"
            """) + dedent(extra)

    def write(self, stem: str, text: str | None = None) -> Path:
        file = self.folder / f"{stem}.py"
        file.write_text(self.source(stem) if text is None else text)
        importlib.invalidate_caches()
        return file

    def install(self, dist: str, points: dict[str, str], modules: dict[str, str]) -> None:
        """Lays out a distribution the way an installer does."""
        info = self.site / f"{dist.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.2\n")
        lines = [f"[{self.package}.things]", *(f"{key} = {value}" for key, value in points.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        for name, text in modules.items():
            (self.site / f"{name}.py").write_text(text)
        importlib.invalidate_caches()

    def loaded(self, stem: str) -> bool:
        return f"{self.package}.things.{stem}" in sys.modules


@pytest.fixture
def content(tmp_path, monkeypatch):
    monkeypatch.delenv("CONTRABENCH_PLUGINS", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    return Content(tmp_path)


def test_get_imports_the_module_of_that_name_and_no_other(content):
    content.write("one")
    content.write("two")
    assert content.registry.get("one").info == "one"
    assert content.loaded("one")
    assert not content.loaded("two")


def test_hyphen_in_a_name_is_an_underscore_in_its_file(content):
    content.write("near_far", content.source("near-far"))
    content.write("other")
    assert content.registry.get("near-far").info == "near-far"
    assert not content.loaded("other")


def test_a_name_that_is_no_file_is_found_by_loading_everything(content):
    content.write("one")
    content.write("misc", content.source("hidden"))
    assert content.registry.get("hidden").info == "hidden"


def test_names_are_sorted_and_private_modules_stay_unloaded(content):
    for stem in ("b", "a", "c"):
        content.write(stem)
    content.write("_private", "raise RuntimeError('must not be imported')")
    assert content.registry.names() == ["a", "b", "c"]


def test_entries_say_where_each_comes_from(content):
    content.write("one")
    content.install(
        "a-stranger",
        {"two": f"{content.package}_stranger:Thing"},
        {f"{content.package}_stranger": "class Thing:\n    info = 'two'\n"},
    )
    things = content.registry

    @things.register("three")
    class Three:
        info = "three"

    origins = {entry.name: entry.origin for entry in things.entries()}
    assert origins["one"] == "built-in"
    assert origins["two"] == "a-stranger 1.2"
    line = Path(__file__).read_text().splitlines().index('    @things.register("three")') + 1
    assert origins["three"] == f"{__file__}:{line}"


def test_collision_names_both_places(content):
    content.write("one", content.source("same"))
    content.write("two", content.source("same"))
    content.write("three")
    with pytest.raises(RequestError) as caught:
        content.registry.get("same")
    text = str(caught.value)
    assert f"{content.folder / 'one.py'}:3" in text
    assert f"{content.folder / 'two.py'}:3" in text
    assert content.registry.names() == ["three"]
    assert content.registry.get("three").info == "three"


def test_collision_within_one_file(content):
    content.write("one", content.source("same") + content.source("same", cls="Other"))
    with pytest.raises(RequestError, match=r"one\.py:3.*one\.py:8"):
        content.registry.get("same")


def test_entry_point_may_not_take_a_built_in_name(content):
    content.write("one")
    module = f"{content.package}_thief"
    content.install("thief", {"one": f"{module}:T"}, {module: "class T:\n    info = 'stolen'\n"})
    with pytest.raises(RequestError, match=r"two things.*built-in.*thief 1\.2"):
        content.registry.get("one")


def test_reload_of_a_module_replaces_its_class(content):
    file = content.write("one")
    first = content.registry.get("one")
    file.write_text("# a line more\n" + content.source("one") + "    size = 2\n")
    importlib.reload(sys.modules[first.__module__])
    second = content.registry.get("one")
    assert second is not first
    assert second.size == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import a_module_that_is_not_there", "ModuleNotFoundError: No module named"),
        ("def broken(:\n    pass", "SyntaxError: "),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise ValueError('first\\nsecond')", "ValueError: first second"),
    ],
)
def test_a_broken_module_is_listed_with_its_reason_and_hurts_nobody(content, text, reason):
    content.write("good")
    content.write("bad", text)
    entries = {entry.name: entry for entry in content.registry.entries()}
    assert entries["good"].error is None
    assert entries["bad"].value is None
    assert entries["bad"].error.startswith(reason)
    assert "\n" not in entries["bad"].error
    assert content.registry.names() == ["good"]
    with pytest.raises(RequestError, match=r"thing 'bad' \(built-in\) cannot be used: ") as caught:
        content.registry.get("bad")
    assert reason in str(caught.value)


def test_a_module_that_registers_and_then_fails_is_not_usable(content):
    content.write("half", content.source("half", "raise KeyError('late')"))
    (entry,) = content.registry.entries()
    assert (entry.name, entry.value) == ("half", None)
    assert "late" in entry.error
    with pytest.raises(RequestError, match="late"):
        content.registry.get("half")


def test_a_broken_module_works_once_it_is_mended(content):
    file = content.write("one", "raise ValueError('not yet, this line is long')")
    with pytest.raises(RequestError, match="not yet"):
        content.registry.get("one")
    file.write_text(content.source("one"))
    assert content.registry.get("one").info == "one"
    assert content.registry.names() == ["one"]


def test_unknown_name_suggests_and_lists(content):
    content.write("simclr")
    content.write("moco")
    content.write("bad", "raise ValueError('out of order')")
    with pytest.raises(RequestError) as caught:
        content.registry.get("simclrr")
    text = str(caught.value)
    assert "no thing 'simclrr'; did you mean 'simclr'?" in text
    assert "there are: moco, simclr" in text
    assert "bad (ValueError: out of order)" in text
    with pytest.raises(RequestError, match="no thing 'zzz'; there are: moco"):
        content.registry.get("zzz")


def test_entry_points_load_only_when_asked_for(content):
    content.write("one")
    module = f"{content.package}_point"
    content.install("lazy", {"two": f"{module}:Thing"}, {module: "class Thing:\n    info = 2\n"})
    content.registry.get("one")
    assert module not in sys.modules
    assert content.registry.get("two").info == 2
    assert module in sys.modules


def test_entry_point_whose_class_registers_itself_is_no_collision(content):
    module = f"{content.package}_self"
    content.install("self", {"two": f"{module}:Thing"}, {module: content.source("two")})
    (entry,) = content.registry.entries()
    assert (entry.name, entry.origin, entry.error) == ("two", "self 1.2", None)


def test_the_decorators_name_rules_where_the_entry_point_has_another(content):
    module = f"{content.package}_other"
    content.install("other", {"alias": f"{module}:Thing"}, {module: content.source("proper")})
    assert content.registry.names() == ["proper"]
    with pytest.raises(RequestError, match="there are: proper"):
        content.registry.get("alias")


def test_entry_point_that_names_a_module_counts_for_its_decorators(content):
    module = f"{content.package}_whole"
    content.install(
        "whole", {"any": module}, {module: content.source("p") + content.source("q", cls="Q")}
    )
    assert content.registry.names() == ["p", "q"]


def test_broken_entry_points_are_listed_each_with_its_reason(content):
    module = f"{content.package}_halfgood"
    content.install(
        "stranger",
        {"a": f"{module}:Gone", "b": f"{module}:Lost", "c": f"{module}:Thing"},
        {module: content.source("c")},
    )
    entries = {entry.name: entry for entry in content.registry.entries()}
    assert "Gone" in entries["a"].error
    assert "Lost" in entries["b"].error
    assert entries["c"].error is None
    with pytest.raises(RequestError, match=r"stranger 1\.2.*Gone"):
        content.registry.get("a")


@pytest.mark.parametrize("name", ["", "Upper", "with space", "a,b", "all", "ü", "a=b"])
def test_names_that_cannot_be_typed_in_a_list_are_refused(name):
    things = Registry("thing", "contrabench.plugins")
    with pytest.raises(RequestError, match="cannot be the name"):
        things.register(name)(type("Thing", (), {"info": 1}))


def test_incomplete_classes_are_refused_by_what_they_lack():
    from contrabench import Method, MethodInfo

    things = Registry("method", "contrabench.plugins")

    class Half(Method):
        info = MethodInfo(title="t", family="f", paper="p", fidelity="official")

        def stages(self):
            return ()

    with pytest.raises(RequestError, match=r"Half does not define objective$"):
        things.register("half")(Half)
    with pytest.raises(RequestError, match=r"Bare does not define info$"):
        things.register("bare")(type("Bare", (), {}))
    with pytest.raises(RequestError, match="register a class"):
        things.register("instance")(object())


def test_threads_that_ask_at_once_get_the_same_classes(content):
    for number in range(8):
        content.write(
            f"thing{number}", "import time\ntime.sleep(0.01)\n" + content.source(f"thing{number}")
        )
    things = content.registry
    results, errors = [], []

    def ask():
        try:
            results.append([things.get(f"thing{number}") for number in range(8)])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert not errors
    assert len(results) == 6
    assert all(result == results[0] for result in results)


def test_two_registries_share_nothing(content, tmp_path):
    content.write("one")
    other = Content(tmp_path)
    other.write("two")
    assert content.registry.names() == ["one"]
    assert other.registry.names() == ["two"]


@pytest.mark.parametrize("kind", ["methods", "datasets"])
def test_built_ins_load_and_are_called_like_their_files(kind, monkeypatch):
    monkeypatch.delenv("CONTRABENCH_PLUGINS", raising=False)
    from contrabench.contracts import registry

    entries = [e for e in getattr(registry, kind).entries() if e.origin == "built-in"]
    assert [entry.error for entry in entries] == [None] * len(entries)
    # A file, or a package.
    stems = {path.stem for path in (Path(__file__).parents[2] / kind).glob("[!_]*")}
    assert {entry.name.replace("-", "_") for entry in entries} == stems
    for entry in entries:
        assert entry.value.__module__ == f"contrabench.{kind}.{entry.name.replace('-', '_')}"


@pytest.mark.parametrize("name", ["my_idea", "my_idea.py"])
def test_a_file_of_that_name_here_is_told_how_to_be_taken(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_idea.py").touch()
    with pytest.raises(RequestError, match=r"my_idea\.py lies here: add --plugin my_idea\.py"):
        methods.get(name)


def test_a_name_that_no_file_can_have_is_unknown_all_the_same():
    with pytest.raises(RequestError, match="there is no method"):
        methods.get("a" * 5000)
