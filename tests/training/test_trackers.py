import importlib.util
import json
import math
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress

import pytest
from filelock import FileLock

from contrabench.errors import RequestError
from contrabench.training import trackers
from contrabench.training.trackers import OPENERS, Tracker, check_trackers

KEY = "0123456789abcdef"
PARAMETERS = {"method": "simclr", "rate": 0.001, "steps": 8}
TEXTS = {name: str(value) for name, value in PARAMETERS.items()}
LOSS = "pretrain/global/loss"


class Lines:
    """A reporter that keeps what it is told."""

    def __init__(self):
        self.lines = []

    def line(self, text):
        self.lines.append(text)


@pytest.fixture
def reporter():
    return Lines()


@pytest.fixture
def start(tmp_path, reporter):
    """Opens trackers for the one stage of these tests."""
    return lambda *names, parameters=PARAMETERS, key=KEY: Tracker(
        names, tmp_path / "tracking", "simclr 10%", key, parameters, reporter
    )


def needs(package):
    return pytest.mark.skipif(
        importlib.util.find_spec(package) is None,
        reason=f"{package} is not installed (the extra '{package}')",
    )


# -- what holds for every tracker --------------------------------------------------


class Memory:
    """A logger that keeps the points; fails where it is told to."""

    def __init__(self, fails_at=None, reached=-1):
        self.fails_at, self.reached = fails_at, reached
        self.points, self.closed = [], []

    def open(self, where, name, key, values, step):
        if self.fails_at == "open":
            raise OSError("no such\nserver")
        return self, self.reached

    def log_metrics(self, metrics, step):
        if step == self.fails_at:
            raise ValueError("gone")
        self.points.append((step, metrics))

    def finalize(self, status):
        self.closed.append(status)


@pytest.fixture
def memory(monkeypatch, start):
    """Starts a tracker upon a backend of this file."""

    def begin(backend):
        monkeypatch.setitem(OPENERS, "json", backend.open)
        return start("json")

    return begin


def test_an_unknown_tracker_is_refused_with_the_names():
    with pytest.raises(RequestError, match="'tensorflow'.* tensorboard, mlflow, wandb"):
        check_trackers(["tensorflow"])


@pytest.mark.parametrize("name", OPENERS)
def test_a_missing_package_is_refused_with_its_extra(name, monkeypatch, start):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(RequestError, match=rf"pip install 'contrabench\[{name}\]'"):
        start(name)


def test_no_tracker_leaves_no_trace(tmp_path, start, reporter):
    tracker = start()
    tracker.log({LOSS: 1.0}, 20)
    tracker.finish()
    assert not list(tmp_path.iterdir())
    assert not reporter.lines


@pytest.mark.parametrize(("fails_at", "kept"), [("open", []), (20, [1]), (40, [1, 20])])
def test_a_failing_tracker_costs_one_line(fails_at, kept, memory, reporter):
    backend = Memory(fails_at)
    tracker = memory(backend)
    for step in (1, 20, 40, 60):
        tracker.log({LOSS: 1.0}, step)
    tracker.finish()
    tracker.finish()
    assert [step for step, _ in backend.points] == kept
    assert len(reporter.lines) == 1
    assert "json is switched off" in reporter.lines[0]
    assert "\n" not in reporter.lines[0]


@pytest.mark.parametrize(("failed", "status"), [(False, "success"), (True, "failed")])
def test_all_points_are_passed_on(failed, status, memory, reporter):
    backend = Memory()
    tracker = memory(backend)
    for step in range(100):
        tracker.log({LOSS: step / 7}, step)
    tracker.finish(failed)
    assert backend.points == [(step, {LOSS: step / 7}) for step in range(100)]
    assert backend.closed == [status]
    assert not reporter.lines


def test_a_step_is_kept_once_and_only_finite_values(memory):
    backend = Memory(reached=20)
    tracker = memory(backend)
    tracker.log({"loss": 1.0, "asd": math.nan}, 20)
    tracker.log({"loss": 2.0, "asd": math.inf, "dice": 0.5}, 40)
    tracker.log({"loss": 3.0, "asd": 4.0}, 40)
    tracker.log({"loss": math.nan}, 60)
    tracker.finish()
    assert backend.points == [(40, {"loss": 2.0, "dice": 0.5})]


def test_a_stage_that_fails_ends_its_tracker_so(memory):
    backend = Memory()
    with pytest.raises(ZeroDivisionError), memory(backend) as tracker:
        tracker.log({LOSS: 1.0}, 1)
        raise ZeroDivisionError
    assert backend.closed == ["failed"]


# -- TensorBoard -------------------------------------------------------------------


@needs("tensorboard")
def test_tensorboard_shows_what_was_logged_and_a_resumed_stage_once(tmp_path, start, reporter):
    from lightning_utilities.core.rank_zero import rank_zero_only
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    # As a shell with SLURM_PROCID=3 would have it.
    rank_zero_only.rank = 3
    tracker = start("tensorboard")
    for step in (1, 20, 40, 60):
        tracker.log({LOSS: step / 8, "pretrain/global/positive": -step}, step)
    tracker.finish(failed=True)
    tracker = start("tensorboard")  # resumed from a checkpoint after step 20
    for step in (40, 60, 80):
        tracker.log({LOSS: step / 4}, step)
    tracker.finish()
    (folder,) = (tmp_path / "tracking" / "tensorboard").iterdir()
    assert folder.name == f"simclr-10--{KEY}"
    seen = EventAccumulator(str(folder)).Reload()
    points = [(point.step, point.value) for point in seen.Scalars(LOSS)]
    assert points == [(1, 0.125), (20, 2.5), (40, 10.0), (60, 15.0), (80, 20.0)]
    assert [p.step for p in seen.Scalars("pretrain/global/positive")] == [1, 20]
    text = seen.Tensors("parameters/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert all(f"| {name} | {value} |" in text for name, value in TEXTS.items())
    assert not reporter.lines


@needs("tensorboard")
def test_a_folder_that_cannot_be_made_costs_one_line(tmp_path, start, reporter):
    (tmp_path / "tracking").write_text("a file is in the way")
    tracker = start("tensorboard")
    for step in (1, 20):
        tracker.log({LOSS: 1.0}, step)
    tracker.finish()
    assert len(reporter.lines) == 1
    assert "tensorboard is switched off" in reporter.lines[0]


# -- MLflow ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A real MLflow server on a free loopback port: its address and a way to kill it."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
                *("--host", "127.0.0.1", "--port", str(port)),
                *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
            ],
            cwd=folder,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def kill():
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    try:
        # On a machine full of work importing the server's modules alone takes minutes.
        for _ in range(3000):
            assert process.poll() is None, (folder / "log").read_text()
            with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
                break
            time.sleep(0.1)
        else:
            pytest.fail((folder / "log").read_text())
        yield address, kill
    finally:
        kill()


def mlflow_runs(address):
    """All runs of the project and the client that found them."""
    from mlflow import MlflowClient

    client = MlflowClient(address)
    experiment = client.get_experiment_by_name("contrabench")
    return client, client.search_runs([experiment.experiment_id])


def mlflow_points(client, run, name):
    history = client.get_metric_history(run.info.run_id, name)
    return sorted((point.step, point.value) for point in history)


@needs("mlflow")
def test_mlflow_on_a_server_resumed_and_killed(server, monkeypatch, start, reporter, capsys):
    address, kill = server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    # A server beside a full suite answers late; one that is gone refuses at once.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")

    tracker = start("mlflow")
    values = {step: math.exp(-step / 30) for step in (1, 20, 40, 60)}
    for step, value in values.items():
        tracker.log({LOSS: value, "pretrain/global/positive": -value}, step)
    tracker.log({LOSS: math.nan}, 61)
    tracker.finish(failed=True)
    client, (run,) = mlflow_runs(address)
    assert mlflow_points(client, run, LOSS) == list(values.items())
    assert mlflow_points(client, run, "pretrain/global/positive") == [
        (step, -value) for step, value in values.items()
    ]
    assert run.data.params == TEXTS
    assert (run.info.run_name, run.info.status) == ("simclr 10%", "FAILED")

    # Resumed from a checkpoint after step 20, on another number of threads.
    tracker = start("mlflow", parameters={**PARAMETERS, "method": "changed", "threads": 2})
    for step in (40, 60, 80):
        tracker.log({LOSS: values.get(step, 0.25)}, step)
    tracker.finish()
    client, (run,) = mlflow_runs(address)
    assert mlflow_points(client, run, LOSS) == [*values.items(), (80, 0.25)]
    assert run.data.params == {**TEXTS, "threads": "2"}
    assert run.info.status == "FINISHED"

    # Another stage, in the middle of which the server dies.
    tracker = start("mlflow", key="f" * 16)
    tracker.log({LOSS: 1.0}, 20)
    while len(mlflow_runs(address)[1]) < 2:
        time.sleep(0.05)
    assert not reporter.lines
    kill()
    for step in range(40, 400, 20):
        tracker.log({LOSS: 1.0}, step)
    tracker.finish()
    assert len(reporter.lines) == 1
    assert "mlflow is switched off" in reporter.lines[0]
    assert not capsys.readouterr().out


@needs("mlflow")
def test_mlflow_without_a_server_writes_beside_the_store(tmp_path, monkeypatch, start, reporter):
    database = tmp_path / "tracking" / "mlflow.db"
    seen = []

    class Watched(FileLock):
        """Notes whether the file is there when the lock is taken and given back."""

        def __enter__(self):
            lock = super().__enter__()
            seen.append(database.exists())
            return lock

        def __exit__(self, *reason):
            seen.append(database.exists())
            super().__exit__(*reason)

    monkeypatch.setattr(trackers, "FileLock", Watched)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    for step in (20, 40):
        tracker = start("mlflow")
        tracker.log({LOSS: step / 10}, step)
        tracker.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["tracking"]
    client, (run,) = mlflow_runs(f"sqlite:///{database}")
    assert mlflow_points(client, run, LOSS) == [(20, 2.0), (40, 4.0)]
    assert seen == [False, True, True, True]
    assert not reporter.lines


# -- Weights & Biases --------------------------------------------------------------


def wandb_points(folder):
    """The history of an offline folder: protocol buffers, framed as LevelDB frames its log."""
    from wandb.proto.wandb_internal_pb2 import Record

    data = next(folder.glob("*.wandb")).read_bytes()
    assert len(data) < 2**15, "one block, in which every record is whole"
    at, points = 7, []
    while at < len(data):
        _checksum, size, whole = struct.unpack_from("<IHB", data, at)
        assert whole == 1
        record = Record.FromString(data[at + 7 : at + 7 + size])
        at += 7 + size
        items = {
            item.key or "/".join(item.nested_key): json.loads(item.value_json)
            for item in record.history.item
        }
        if LOSS in items:
            points.append((items["trainer/global_step"], items[LOSS]))
    return points


@needs("wandb")
def test_wandb_stays_offline_and_keeps_its_id(tmp_path, start, reporter, capfd):
    for steps in ((20, 40), (40, 60)):
        tracker = start("wandb")
        for step in steps:
            tracker.log({LOSS: step / 10}, step)
        tracker.finish()
        time.sleep(1.1)  # W&B names its folders by the second
    folders = sorted((tmp_path / "tracking" / "wandb").glob("offline-run-*"))
    assert [folder.name.rpartition("-")[2] for folder in folders] == [KEY, KEY]
    points = [wandb_points(folder) for folder in folders]
    assert points == [[(20, 2.0), (40, 4.0)], [(40, 4.0), (60, 6.0)]]
    assert not reporter.lines
    assert not capfd.readouterr().out
