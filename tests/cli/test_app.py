"""The frame: help, version, exit codes, and errors in one calm line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import contrabench
from contrabench.cli import app as frame
from contrabench.cli.listings import describe_options
from contrabench.cli.options import examples
from contrabench.cli.output import words
from contrabench.contracts import discovery
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


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "1000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "active"}, None),
    ],
)
def test_threads_wait_briefly_unless_the_user_says_how(monkeypatch, capsys, given, expected):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        # So that what is set on the way is put back as well.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    run("--version", capsys=capsys)
    assert os.environ.get("GOMP_SPINCOUNT") == expected


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
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(("error", "code"), [(RequestError, 2), (RunError, 1)])
def test_an_error_is_its_message_and_its_exit_code(capsys, monkeypatch, error, code):
    message = "something [bold]happened[/bold]; " + "long " * 60 + "do that"

    def fail(*_):
        raise error(message)

    monkeypatch.setattr("contrabench.cli.listings.Kind._list", fail)
    assert run("methods", capsys=capsys) == (code, "", f"error: {message}\n")


def test_what_nobody_foresaw_is_one_line_and_a_file(capsys, monkeypatch, tmp_path):
    def fail(*_):
        raise ZeroDivisionError("in a\nline")

    monkeypatch.setattr("contrabench.cli.listings.Kind._list", fail)
    monkeypatch.setattr("contrabench.study.status.read_studies", fail)
    monkeypatch.setenv("WANDB_API_KEY", "geheim")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["bench", "--api-key=geheim", "--token", "geheim", "status"])
    (tmp_path / "store").mkdir()
    for line, folder in (
        (["datasets"], tmp_path),
        (["status", "--store", str(tmp_path / "store")], tmp_path / "store" / "faults"),
        (["status", "--store", str(tmp_path / "gone")], tmp_path),
    ):
        code, out, err = run(*line, capsys=capsys)
        assert (code, out, err.count("\n")) == (1, "", 1)
        file = Path(err.strip().rpartition("see ")[2])
        assert file.parent == folder
        account = file.read_text()
        for told in ("Traceback (most recent call last)", "ZeroDivisionError", "torch 2"):
            assert told in account
        assert f"contrabench {contrabench.__version__}" in account
        assert "SLURM_JOB_ID: 77" in account
        assert "geheim" not in account
    monkeypatch.setattr("tempfile.gettempdir", no_folder)
    code, _, err = run("datasets", capsys=capsys)
    assert (code, err.count("\n")) == (1, 1)


def no_folder():
    raise FileNotFoundError("no usable folder")


def test_an_interrupt_is_one_line_and_130(capsys, monkeypatch):
    def press(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("contrabench.cli.listings.Kind._list", press)
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
