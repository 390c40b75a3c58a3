"""The frame: help, version, exit codes, and errors in one calm line."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import typer

import contrabench
from contrabench.cli import app as frame
from contrabench.cli.listings import describe_options
from contrabench.cli.options import examples
from contrabench.cli.output import words
from contrabench.contracts import discovery, registry
from contrabench.errors import RequestError, RunError


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """The variable that `--plugin` changes is put back after each test."""
    monkeypatch.setenv(discovery.VARIABLE, "")
    monkeypatch.setenv("COLUMNS", "120")


def run(*arguments, capsys):
    """Exit code, standard output and standard error of one command line."""
    with pytest.raises(SystemExit) as caught:
        frame.main(list(arguments))
    captured = capsys.readouterr()
    code = caught.value.code
    return (0 if code is None else code), captured.out, captured.err


def test_version(capsys):
    code, out, _ = run("--version", capsys=capsys)
    assert (code, out) == (0, f"contrabench {contrabench.__version__}\n")


def every_command() -> list[list[str]]:
    """The words of every command and group of the program."""
    found, waiting = [], [([], typer.main.get_command(frame.app))]
    while waiting:
        line, command = waiting.pop()
        found.append(line)
        below = getattr(command, "commands", {}).items()
        # A hidden command is what its group does when no other is named.
        waiting += [([*line, name], sub) for name, sub in below if not sub.hidden]
    return found


def test_the_walk_finds_commands_and_what_is_below_them():
    found = every_command()
    for line in ([], ["run"], ["report"], ["methods", "show"], ["datasets", "show"]):
        assert line in found


@pytest.mark.parametrize("command", every_command(), ids=lambda words: "-".join(words) or "bench")
def test_every_command_has_help_with_an_example(capsys, command):
    code, out, _ = run(*command, "--help", capsys=capsys)
    assert code == 0
    example = out.partition("Examples:")[2].strip()
    assert example.startswith(" ".join(["bench", *command]))


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["methods", "--nonsense"], ["methods", "show"], ["--plugin"]]
)
def test_usage_errors_exit_2(capsys, arguments):
    code, out, err = run(*arguments, capsys=capsys)
    assert code == 2
    assert "Error" in err
    assert "Traceback" not in out + err


@pytest.mark.parametrize(("error", "code"), [(RequestError, 2), (RunError, 1)])
def test_an_error_is_its_message_and_its_exit_code(capsys, monkeypatch, error, code):
    message = "something [bold]happened[/bold]; " + "long " * 60 + "do that"

    def fail():
        raise error(message)

    monkeypatch.setattr(registry.methods, "entries", fail)
    assert run("methods", capsys=capsys) == (code, "", f"error: {message}\n")


def test_an_interrupt_is_one_line_and_130(capsys, monkeypatch):
    def press():
        raise KeyboardInterrupt

    monkeypatch.setattr(registry.methods, "entries", press)
    code, out, err = run("methods", capsys=capsys)
    assert code == 130
    assert out == ""
    assert err.startswith("error: interrupted; ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--plugin", "PATH", "methods"], ["methods", "--plugin"]])
def test_a_missing_plugin_is_one_line_and_2_wherever_it_is_given(capsys, tmp_path, arguments):
    path = str(tmp_path / "gone.py")
    line = [path if word == "PATH" else word for word in arguments]
    if line[-1] == "--plugin":
        line.append(path)
    code, out, err = run(*line, capsys=capsys)
    assert (code, out) == (2, "")
    assert err == f"error: plug-in {path} does not exist; check --plugin and CONTRABENCH_PLUGINS\n"


def test_plugins_of_both_places_add_up(capsys, tmp_path):
    for name in ("first", "second"):
        (tmp_path / f"{name}.py").write_text("")
    first, second = str(tmp_path / "first.py"), str(tmp_path / "second.py")
    code, _, _ = run("--plugin", first, "datasets", "--plugin", second, "--json", capsys=capsys)
    assert code == 0
    assert os.environ[discovery.VARIABLE] == os.pathsep.join([first, second])


def test_python_m_contrabench_and_its_exit_code():
    command = [sys.executable, "-m", "contrabench"]
    good = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    assert (good.returncode, good.stdout) == (0, f"contrabench {contrabench.__version__}\n")
    bad = subprocess.run(
        [*command, "datasets", "show", "nothing-like-it"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert bad.returncode == 2
    assert bad.stderr.startswith("error: there is no dataset 'nothing-like-it'")
    assert bad.stderr.count("\n") == 1


def test_examples_are_lines_of_their_own():
    assert examples("a b", "c").split("\n\n") == ["Examples:", "  a b", "  c"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "yes"), (False, "no"), (None, "-"), ([], "-"), (["a", 1], "a, 1"), (0.5, "0.5")],
)
def test_words(value, text):
    assert words(value) == text


def test_options_are_described_in_the_words_of_a_reader():
    from typing import Literal

    from pydantic import Field

    from contrabench import Options

    class Mine(Options):
        size: int = Field(3, description="how large")
        kind: Literal["a", "b"] = "a"
        taps: tuple[Literal["x", "y"], ...] = ("x",)
        limit: float | None = None
        pair: tuple[int, int] = (1, 2)

    rows = {row["option"]: row for row in describe_options(Mine)}
    assert rows["size"] == {
        "option": "size",
        "type": "int",
        "default": 3,
        "description": "how large",
    }
    assert rows["kind"]["type"] == "a | b"
    assert rows["taps"]["type"] == "list of x | y"
    assert rows["taps"]["default"] == ["x"]
    assert rows["limit"]["type"] == "float | none"
    assert rows["pair"]["type"] == "tuple[int, int]"
