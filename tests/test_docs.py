"""The guide for authors, followed to the letter; and every name that it mentions."""

import ast
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
import typing
from dataclasses import fields
from pathlib import Path

import pytest
import typer
from pydantic import BaseModel

import contrabench
from contrabench import budgets, plugins
from contrabench.cli.app import app, main
from contrabench.cli.new import starting_file
from contrabench.contracts import discovery, method, registry
from contrabench.protocol import Phase
from contrabench.store.rows import ResultRow
from contrabench.training import runtime

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGE = DOCS / "add-a-method.md"
FENCE = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
QUICK = {
    "pretrain": Phase(images=96, batch=16, lr=1e-3),
    "finetune": Phase(images=160, batch=8, lr=1e-2),
}


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """An author's folder: what is registered there is forgotten, and `smoke` is shorter.

    On one thread, which is what small networks need least time on.
    """
    # Built-ins register when they are first imported, which must not be forgotten.
    registry.methods.entries()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv(discovery.VARIABLE, "")
    monkeypatch.setattr(plugins, "__path__", list(plugins.__path__))
    for name in ("_registered", "_collisions", "_failed"):
        monkeypatch.setattr(registry.methods, name, dict(getattr(registry.methods, name)))
    smoke = budgets.BUDGETS["smoke"].model_copy(update=QUICK)
    monkeypatch.setitem(budgets.BUDGETS, "smoke", smoke)
    monkeypatch.setattr(runtime, "default_threads", lambda devices: 1)
    yield tmp_path
    forget_plugins()


def forget_plugins():
    """Makes the next command read the files anew, as a process of its own would."""
    os.environ[discovery.VARIABLE] = ""
    for name in [name for name in sys.modules if name.startswith(f"{discovery.PACKAGE}.")]:
        del sys.modules[name]


def run_shell(text, capsys):
    """Runs commands, `bench` in this process and others in their own; returns the last output."""
    for line in text.splitlines():
        program, *words = shlex.split(line)
        if program == "bench":
            forget_plugins()
            with pytest.raises(SystemExit) as ended:
                main(words)
            assert not ended.value.code, line
            output = capsys.readouterr().out
        else:
            assert (program, words[0]) == ("python", "-m"), line
            done = subprocess.run(
                [sys.executable, *words], capture_output=True, text=True, check=False
            )
            output = done.stdout + done.stderr
            assert done.returncode == 0, output
    return output


def replaced(old, new):
    """Puts definitions in place of those of the same name, and imports where imports go."""
    source, snippet = ast.parse(old), ast.parse(new)
    named = {node.name: node for node in snippet.body if hasattr(node, "name")}
    imports = [node for node in snippet.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert len(named) + len(imports) == len(snippet.body)
    assert set(named) <= {node.name for node in source.body if hasattr(node, "name")}
    body = [named.get(getattr(node, "name", None), node) for node in source.body]
    # After the docstring and the import from __future__.
    body[2:2] = imports
    return ast.unparse(ast.Module(body, []))


def test_the_guide_works_from_its_first_line_to_its_last(desk, capsys):
    kinds, output = [], ""
    for kind, file, text in FENCE.findall(PAGE.read_text(encoding="utf-8")):
        kinds.append(kind)
        if kind == "sh":
            output = run_shell(text, capsys)
        elif kind == "python":
            path = desk / file
            path.write_text(replaced(path.read_text(), text) if path.exists() else text)
        else:
            assert kind == "toml"
            ((group, points),) = tomllib.loads(text)["project"]["entry-points"].items()
            assert (group, list(points)) == (registry.methods.package, ["my_idea"])
    assert (kinds.count("sh"), kinds.count("python"), kinds.count("toml")) == (6, 5, 1)
    # The last command is `bench report`.
    for name in ("my_idea", "my_pair", "scratch"):
        assert name in output


def test_no_snippet_of_the_guide_is_left_out():
    text = PAGE.read_text(encoding="utf-8")
    assert text.count("```") == 2 * len(FENCE.findall(text))


def starting_names(name="my_idea", joint=False):
    """The classes and functions of a starting file."""
    tree = ast.parse(starting_file(name, "my_joint_method" if joint else "my_method"))
    return {node.name for node in tree.body if hasattr(node, "name")}


def test_the_guide_describes_the_starting_files():
    text = PAGE.read_text(encoding="utf-8")
    for joint, name, begins, ends in (
        (False, "my_idea", "## 1.", "## 2."),
        (True, "my_pair", "## 7.", "**What the engine does.**"),
    ):
        part = text.partition(begins)[2].partition(ends)[0]
        rows = re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE)
        assert set(rows) == starting_names(name, joint)


def known():
    """Every name that the page may set in code type."""
    from contrabench.contracts import split
    from contrabench.contracts import views as batch
    from contrabench.contracts import views as spec
    from contrabench.contracts.dataset import Case, Dataset
    from contrabench.contracts.objective import JointBatch, JointObjective, Network, Objective
    from contrabench.contracts.report import ReportFormat, ReportInfo, Section
    from contrabench.model.backbones.unet import UNet
    from contrabench.model.weights import build_backbone
    from contrabench.objectives.momentum import Queue
    from contrabench.protocol import PARTS, BackboneSpec
    from contrabench.report import tidy

    names = {*contrabench.__all__, *PARTS, *UNet.taps, *budgets.BUDGETS}
    for choices in (method.Fidelity, method.AgainstCollapse):
        names |= set(typing.get_args(choices))
    names |= set(dir(contrabench.contracts.report)) | set(dir(tidy))
    for module in (method, spec, split):
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, BaseModel):
                names |= {value.__name__, *value.model_fields}
    names |= set(ReportInfo.model_fields) | {item.name for item in fields(ResultRow)}
    for owner in (batch.Batch, batch.View, batch.SliceInfo, JointBatch, Section, Case):
        names |= {item.name for item in fields(owner)}
    network = build_backbone(BackboneSpec(width=4), 0)
    owners = (
        Dataset,
        ReportFormat,
        Objective,
        JointObjective,
        Network,
        Queue,
        method.Method,
        batch.Batch,
        batch.View,
        network,
    )
    for owner in owners:
        names |= set(dir(owner)) | set(getattr(owner, "__annotations__", {}))
    return names | starting_names() | starting_names("my_pair", joint=True)


PLACEHOLDERS = {"i", "a", "b", "batch", "backbone", "case", "image", "progress", "tap", "taps"}
PLACEHOLDERS |= {"name", "report", "value", "True", "False", "None", "network", "label", "logits"}
PLACEHOLDERS |= {"supervised", "given"}


def codes(page):
    """What a page sets in code type, outside of its snippets."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return re.findall(r"`([^`\n]+)`", text)


def is_there(code, names):
    """Whether something in code type exists: a command, an option, a path or a name."""
    command = typer.main.get_command(app)
    if code.startswith("bench "):
        words = code.split()[1:]
        while words and (below := getattr(command, "commands", None)):
            command = below.get(words.pop(0))
        return command is not None
    if code.startswith("-"):
        options = command.commands["run"].params
        return code.split()[0] in {flag for option in options for flag in option.opts}
    if code in (discovery.VARIABLE, ". .venv/bin/activate"):
        return True
    if "/" in code:
        return (ROOT / code).exists()
    if code in {kind.group for kind in registry.REGISTRIES}:
        return True
    if code.startswith("contrabench."):
        public = code.removeprefix("contrabench.") in contrabench.__all__
        if public or importlib.util.find_spec(code) is not None:
            return True
        module, _, name = code.rpartition(".")
        return hasattr(importlib.import_module(module), name)
    if code.endswith(".py"):
        return code in {"my_idea.py", *(file for _, file, _ in FENCE.findall(PAGE.read_text()))}
    words = re.findall(r"[A-Za-z_]\w*", re.sub(r'"[^"]*"', "", code))
    return code in names or set(words) <= names | PLACEHOLDERS


def test_every_name_in_code_type_exists():
    names = known()
    for module, cell in re.findall(
        r"^\| `(contrabench\.\S+)` \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    ):
        found = vars(importlib.import_module(module))
        for name in re.findall(r"`(\w+)", cell):
            assert name in found or name in names, f"{module}: {name}"
            names.add(name)
    missing = [code for code in codes(PAGE) if not is_there(code, names)]
    assert missing == []


def test_the_check_of_names_sees_what_is_not_there():
    names = known()
    for code in (
        "viewz",
        "contrabench.nothing",
        "methods/nothing.py",
        "--nothing",
        "bench no",
        "bench methods no x",
    ):
        assert not is_there(code, names), code


def commands_of(page):
    """Every `bench` command that a page shows, as words: its blocks of code and its code type."""
    text = page.read_text(encoding="utf-8")
    for block, inline in re.findall(r"^ {4}(.*)$|`([^`\n]+)`", text, re.MULTILINE):
        for command in re.split(r"&&", block or inline):
            begins = re.match(r"\s*(?:\S*/|uv run )?bench (.*)", command)
            if begins:
                yield shlex.split(begins[1].partition(" #")[0], posix=True)


def wrong_words(words):
    """What of a command the program does not know."""
    command, path = typer.main.get_command(app), []
    while words and words[0] in getattr(command, "commands", {}):
        path.append(words[0])
        command, *words = command.commands[words[0]], *words[1:]
    if words and not words[0].startswith("-") and getattr(command, "commands", None):
        # `bench study study.toml` and `bench methods` stand for a command that needs no name.
        command = command.commands.get("run", command)
    known = {"--help"}
    for owner in (command, *(getattr(command, "commands", {}).values())):
        for item in owner.params:
            known |= {*item.opts, *item.secondary_opts}
    flags = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    return (not path and words[:1] != ["--help"]) or flags - known


SHOWN = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "examples/README.md")),
    DOCS / "example" / "README.md",
    *(page for page in sorted(DOCS.glob("*.md")) if page.stem != "refused"),
]


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: page.stem)
def test_every_command_that_is_shown_can_be_given(page):
    for words in commands_of(page):
        assert not wrong_words(words), words


def test_the_check_of_commands_sees_what_is_wrong():
    for line in (
        "nothing",
        "run --nothing 3",
        "study study.toml --winner",
        "store merge a --out b",
    ):
        assert wrong_words(line.split()), line


def test_the_map_of_the_house_names_files_that_are_there():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w./]+(?:/|\.py))`", page.partition("## Working")[0])
    assert len(named) > 30
    for name in named:
        assert (ROOT / "benchmark" / "contrabench" / name).exists() or (ROOT / name).exists(), name
