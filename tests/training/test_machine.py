"""What a machine tells of itself: the model of its processor and what its sums are made by."""

import pytest
import torch

from contrabench.training import machine


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("processor\t: 0\nmodel name\t: AMD  EPYC 7B13 \nflags\t: avx2\n", "AMD EPYC 7B13"),
        ("processor\t: 0\n\nModel\t\t: Raspberry Pi 5\n", "Raspberry Pi 5"),
    ],
)
def test_the_model_of_the_processor(tmp_path, monkeypatch, text, model):
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    monkeypatch.setattr(machine, "_CPUINFO", file)
    assert machine.processor.__wrapped__() == model


def test_without_a_word_of_the_system_it_is_the_architecture(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "none")
    monkeypatch.setattr(machine.platform, "system", lambda: "Linux")
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    monkeypatch.setattr(machine.platform, "machine", lambda: "riscv64")
    assert machine.processor.__wrapped__() == "riscv64"


def test_kernels_name_the_instruction_set_first(monkeypatch):
    shown = "  - Intel(R) MKL-DNN v3.7.1 (Git Hash 8d)\n  - Build settings: BLAS_INFO=open, LAPACK"
    monkeypatch.setattr(torch.__config__, "show", lambda: shown)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert machine.kernels.__wrapped__() == "AVX2, oneDNN 3.7.1, BLAS open"
