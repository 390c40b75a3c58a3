"""Exported forms give the network's own numbers, where this program is not to be had."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from tests.makers.studies import make_run, make_spec

from contrabench.contracts.registry import backbones
from contrabench.errors import RequestError
from contrabench.use.export import FORMS, Encoder, Whole, export
from contrabench.use.trained import find_trained

ASK = """
import sys, torch
sys.modules["contrabench"] = None  # importing it fails
image = torch.load("image.pt")
"""
TELL = """
found = found if isinstance(found, (tuple, list)) else (found,)
torch.save([torch.as_tensor(one).detach() for one in found], "found.pt")
"""


@pytest.fixture(scope="module")
def trained(prepared, tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    made = make_run(make_spec("scratch"), prepared[1], store)
    return find_trained(made.key[:8], store)


@pytest.fixture
def image():
    return torch.randn(3, 1, 48, 32, generator=torch.Generator().manual_seed(1))


def lines_of(folder):
    """The code of the card."""
    text = (folder / "README.md").read_text()
    lines = [line[4:] for line in text.splitlines() if line.startswith("    ")]
    assert "image = torch.zeros(1, 1, 32, 32)" in lines
    return lines


def loaded(folder, image):
    """What the card's lines find in a process of their own, asked with another image."""
    torch.save(image, folder / "image.pt")
    lines = [line for line in lines_of(folder) if not line.startswith("image = ")]
    code = ASK + "\n".join(lines) + TELL
    words = [sys.executable, "-c", code]
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    return torch.load(folder / "found.pt")


def test_a_resnet_is_timms_by_its_names(prepared, tmp_path, image):
    pytest.importorskip("timm")
    kind = backbones.get("resnet_unet").Options()
    options = {"backbone": "resnet_unet", "backbone_options": kind.model_dump(mode="json")}
    run = make_run(make_spec("scratch", **options), prepared[1], tmp_path / "store")
    trained = find_trained(run.key[:8], tmp_path / "store")
    with pytest.raises(RequestError, match="no counterpart in timm"):
        export(trained, "network", "timm", tmp_path / "none")
    export(trained, "encoder", "timm", tmp_path / "out")
    with torch.no_grad():
        own = Encoder(trained.network().backbone)(image)
    for one, other in zip(loaded(tmp_path / "out", image), own, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-5)


@pytest.mark.parametrize("part", ["network", "encoder"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_numbers(trained, tmp_path, image, part, form):
    if form == "timm" or (form == "monai" and part == "network"):
        with pytest.raises(RequestError, match=f"no counterpart in {form}"):
            export(trained, part, form, tmp_path / "out")
        return
    if form == "onnx":
        pytest.importorskip("onnxruntime")
    files = export(trained, part, form, tmp_path / "out")
    assert {"README.md", "config.json"} < {file.name for file in files}
    network = trained.network()
    with torch.no_grad():
        own = Whole(network)(image) if part == "network" else Encoder(network.backbone)(image)
    own = own if isinstance(own, tuple) else (own,)
    found = loaded(tmp_path / "out", image)
    assert len(found) == len(own)
    for one, other in zip(found, own, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-5)
