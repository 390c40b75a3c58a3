"""What surrounds the command: it fails in a line, or makes no difference at all."""

import os
import shutil
import subprocess
import sys

import pytest
import torch
from tests.hostile.refusals import Refusal, ended, refused
from tests.hostile.test_archives import packed
from tests.hostile.test_options import RUN

from contrabench.cli.app import main
from contrabench.training.checkpoint import save_checkpoint, save_weights


def reads(given):
    """A report on an archive, which is unpacked, kept in the cache, and printed."""
    (given / "lab.zip").write_bytes(packed())
    (given / "file").write_text("mine")
    return ["report", "--store", str(given / "lab.zip")]


def runs(given):
    """A run into the store that the environment names."""
    (given / "file").write_text("mine")
    return RUN


def lists(_):
    return ["datasets"]


def store(value):
    return {"CONTRABENCH_STORE": value}


def harmless(what, **environment):
    """Something that must make no difference to a report."""
    return Refusal(what, reads, "scratch", code=0, environment=environment)


CLUSTER = {
    "SLURM_JOB_ID": "77", "SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "3",
    "SLURM_NODEID": "1", "SLURM_JOB_NAME": "train", "LSB_JOBID": "7", "LSB_DJOB_NUMPROC": "4",
    "LOCAL_RANK": "3", "RANK": "3", "WORLD_SIZE": "4", "PMI_RANK": "3", "PMI_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "3", "MASTER_ADDR": "nowhere", "MASTER_PORT": "x",
}  # fmt: skip

REFUSALS = [
    Refusal(
        "CONTRABENCH_STORE of no user", runs, "no user 'nosuchuser'",
        environment=store("~nosuchuser/x"),
    ),
    Refusal("CONTRABENCH_STORE is a file", runs, "is a file", environment=store("GIVEN/file")),
    Refusal(
        "CONTRABENCH_STORE lies below a file", runs, "is a file", environment=store("GIVEN/file/x")
    ),
    Refusal(
        "CONTRABENCH_STORE has a line break", runs, "control character", environment=store("a\nb")
    ),
    Refusal(
        "CONTRABENCH_STORE has too long a name", runs, "too long", environment=store("x" * 300)
    ),
    Refusal(
        "CONTRABENCH_CONFIG names no file", reads, "no configuration file",
        environment={"CONTRABENCH_CONFIG": "GIVEN/gone.toml"},
    ),
    Refusal(
        "CONTRABENCH_CONFIG of no user", runs, "no user 'nosuchuser'",
        environment={"CONTRABENCH_CONFIG": "~nosuchuser/x.toml"},
    ),
    Refusal(
        "CONTRABENCH_PLUGINS names no file", lists, "plug-in .* does not exist",
        environment={"CONTRABENCH_PLUGINS": "GIVEN/gone.py"},
    ),
    Refusal(
        "CONTRABENCH_PLUGINS of no user", lists, "no user 'nosuchuser'",
        environment={"CONTRABENCH_PLUGINS": "~nosuchuser/x.py"},
    ),
    harmless("XDG_CACHE_HOME is a file", XDG_CACHE_HOME="GIVEN/file"),
    harmless("XDG_CACHE_HOME is no whole path", XDG_CACHE_HOME="cache"),
    harmless("HOME is not there", HOME="GIVEN/gone", XDG_CACHE_HOME=""),
    harmless("HOME is a file", HOME="GIVEN/file", XDG_CACHE_HOME=""),
    harmless("HOME is a folder of nobody's", HOME="/proc", XDG_CACHE_HOME=""),
    harmless("COLUMNS is no number", COLUMNS="wide"),
    harmless("COLUMNS is a digit that is no number", COLUMNS="²"),
    harmless("COLUMNS is nought", COLUMNS="0"),
    harmless("TMPDIR is not there", TMPDIR="GIVEN/gone"),
    harmless("TMPDIR is a file", TMPDIR="GIVEN/file"),
    harmless("TERM is unknown", TERM="nonsense"),
    harmless("MPLBACKEND is unknown", MPLBACKEND="nonsense"),
    harmless("variables of a cluster are left over", **CLUSTER),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.what)
def test_refused(case, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", None)
    refused(case, tmp_path)


def test_the_home_of_a_variable_is_read_once(tmp_path):
    end = ended(["store", "ls"], tmp_path, {"CONTRABENCH_STORE": "~/runs"})
    assert end.code == 2
    assert f"no folder {tmp_path / 'runs'}; " in end.err
    assert not (tmp_path / "work" / "~").exists()


def test_a_current_folder_that_is_gone(tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    shutil.rmtree(tmp_path / "gone")
    with pytest.raises(SystemExit) as end:
        main(["datasets"])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("error: the current folder is not there any more")


def test_a_user_without_a_name_gets_one(tmp_path, monkeypatch):
    """As in a container that was given a number alone; libraries ask for the name."""
    import getpass

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        # So that what is set on the way is put back as well.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert getpass.getuser() == "uid-54321"


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_weights_may_be_read_by_whom_the_umask_lets(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        save_weights(tmp_path / "weights.safetensors", {"w": torch.ones(2)}, {})
        save_checkpoint(tmp_path, {"w": torch.ones(2)})
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {mode}


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (">&-", 0),
        ("2>&-", 0),
        (">&- 2>&- <&-", 0),
        ("| :", 0),
        ("> /dev/full", 1),
        ("2> /dev/full", 0),
    ],
)
def test_streams_that_lead_nowhere(tmp_path, line, code):
    """Closed by a service manager, by whoever reads, or on a full disk; and without UTF-8."""
    command = f'set -o pipefail; "{sys.executable}" -m contrabench --help {line}'
    odd = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    done = subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, **odd},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.stderr.count("\n") == code
    assert not list(tmp_path.iterdir())
