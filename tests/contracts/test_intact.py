"""What a plug-in does to the engine and to torch is told by name, and undone."""

import importlib.util
import os
import sys
from functools import partial

import pytest
import torch

from contrabench.contracts import intact, reads
from contrabench.contracts.intact import ChangedError, Picture, working
from contrabench.evaluation import inference
from contrabench.evaluation.metrics import StructureScore
from contrabench.protocol import Phase
from contrabench.training import optimizer as optimizer_module
from contrabench.training.optimizer import Lars

USUAL = {"torch.get_num_threads()": 1}
SETTINGS = {
    "torch.get_default_dtype()": partial(torch.set_default_dtype, torch.float64),
    "torch.get_default_device()": partial(torch.set_default_device, "meta"),
    "torch.is_grad_enabled()": partial(torch._C._set_grad_enabled, False),
    "torch.are_deterministic_algorithms_enabled()": partial(
        torch.use_deterministic_algorithms, True
    ),
    "torch.get_num_threads()": partial(torch.set_num_threads, 2),
    "torch.get_float32_matmul_precision()": partial(torch.set_float32_matmul_precision, "medium"),
    "torch.is_autocast_enabled('cpu')": partial(torch.set_autocast_enabled, "cpu", True),
    "torch.backends.cudnn.enabled": lambda: setattr(torch.backends.cudnn, "enabled", False),
    "the global forward hooks of torch": lambda: (
        torch.nn.modules.module.register_module_forward_hook(lambda *_: None)
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_of_torch_is_named_and_put_back(name):
    before = intact._values()
    with pytest.raises(ChangedError) as caught, working("'x'"):
        SETTINGS[name]()
    assert str(caught.value).startswith(f"{name} is ")
    assert intact._values() == before
    intact.check({}, USUAL)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_that_is_wrong_at_the_start_is_named_and_put_back(name):
    SETTINGS[name]()
    usual = {**USUAL, "torch.get_float32_matmul_precision()": "highest"}
    with pytest.raises(ChangedError) as caught:
        intact.check({}, usual)
    assert str(caught.value).startswith(f"{name} is ")
    intact.check({}, usual)


@pytest.mark.parametrize(
    ("holder", "name", "full"),
    [
        (inference, "predict_slices", "contrabench.evaluation.inference.predict_slices"),
        (Phase, "rate", "contrabench.protocol.Phase.rate"),
        (StructureScore, "__init__", "contrabench.evaluation.metrics.StructureScore.__init__"),
        (intact, "_LIBRARIES", "contrabench.contracts.intact._LIBRARIES"),
    ],
)
def test_a_part_of_the_engine_is_named_and_put_back(holder, name, full):
    picture, real = Picture(), getattr(holder, name)
    setattr(holder, name, lambda *_: None)
    (line,) = picture.undo()
    assert line.startswith(f"{full} is no longer the engine's")
    assert getattr(holder, name) is real
    assert picture.undo() == []


def test_the_code_of_a_function_is_looked_at_too():
    picture, real = Picture(), inference.predict_slices.__code__
    inference.predict_slices.__code__ = (lambda *_: None).__code__
    # Wherever a module of the engine has it.
    told = picture.undo()
    assert any(line.endswith("the engine's: test_intact.py replaced it") for line in told)
    assert all("predict_slices is no longer the engine's" in line for line in told)
    assert inference.predict_slices.__code__ is real


def test_what_the_caller_reads_is_not_a_plugins(tmp_path):
    (tmp_path / "x.txt").write_text("1")
    with reads.watching() as watch:
        (tmp_path / "x.txt").read_text()
        os.environ.get("HOME")
    assert reads.told(watch) == []
    assert type(os.environ) is not reads._Environment


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("open(PLACE).read()", "x.txt (sha 6b86b273)"),
        ("__import__('os').environ['MY_TAU']", "MY_TAU=0.5"),
        ("__import__('os').getenv('MY_NONE')", "MY_NONE (not set)"),
        ("__import__('os').environ.get('MY_TOKEN')", "MY_TOKEN (sha 2bb80d53)"),
        ("__import__('numpy').loadtxt(PLACE)", "x.txt (sha 6b86b273)"),
        ("open(PLACE, 'w').write('1')", None),
        ("len(__import__('os').sep)", None),
    ],
)
def test_what_a_plugins_code_reads_is_told(tmp_path, monkeypatch, code, line):
    monkeypatch.setenv("MY_TAU", "0.5")
    monkeypatch.setenv("MY_TOKEN", "secret")
    place, file = tmp_path / "x.txt", tmp_path / "strange.py"
    place.write_text("1")
    made = compile(code, str(file), "eval")
    with reads.watching() as watch:
        eval(made, {"PLACE": str(place), "__name__": "strange"})
    assert reads.told(watch) == ([line] if line else [])


def test_a_librarys_function_is_put_back_after_an_import(tmp_path, monkeypatch):
    monkeypatch.setattr(intact, "_homes", set(intact._homes))
    monkeypatch.setattr(intact, "_changed", {})
    file = tmp_path / "careless.py"
    file.write_text("import torch\ntorch.manual_seed = torch.Tensor.sum = lambda *_: None\n")
    seed, total = torch.manual_seed, torch.Tensor.sum
    spec = importlib.util.spec_from_file_location("careless", file)
    with intact.importing("careless", file):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    assert (torch.manual_seed, torch.Tensor.sum) == (seed, total)
    assert any("torch.manual_seed is no longer" in line for line in intact._changed["careless"])
    with pytest.raises(ChangedError, match="manual_seed"):
        intact.check({"careless": "'x'"}, USUAL)
    intact.check({}, USUAL)


def test_no_bytecode_is_left_beside_a_plug_in(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(intact, "_homes", set(intact._homes))
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "leaves_nothing.py"
    file.write_text("VALUE = 1\n")
    with intact.importing("leaves_nothing", file):
        importlib.import_module("leaves_nothing")
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert not sys.dont_write_bytecode


def test_what_torch_wraps_around_an_optimiser_is_no_change():
    class Fresh(Lars):
        """A class that torch has not met."""

    optimizer_module.Fresh, Fresh.__module__ = Fresh, optimizer_module.__name__
    Fresh.step = step = lambda self, closure=None: None
    try:
        before = Picture()
        Fresh([{"params": [torch.nn.Parameter(torch.ones(1))]}], 0.1, 0.9, 0.0)
        assert Fresh.step is not step
        assert before.undo() == []
    finally:
        del optimizer_module.Fresh
