"""Weights from outside: taken in by name, refused by name, and the same network afterwards."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.makers.studies import make_run, make_spec
from torch import nn

from contrabench.contracts.method import Checkpoint
from contrabench.contracts.registry import methods
from contrabench.errors import RequestError
from contrabench.model.checkpoints import fitted, read_checkpoint
from contrabench.model.weights import build_backbone
from contrabench.protocol import ENCODER, BackboneSpec


def net(seed=0, **options):
    return build_backbone(BackboneSpec(width=4, **options), seed)


def encoder(network):
    prefixes = tuple(f"{part}." for part in ENCODER)
    return {n: v.clone() for n, v in network.state_dict().items() if n.startswith(prefixes)}


def ask(file="file", **pairs):
    return Checkpoint(file=str(file), keys=tuple(pairs.items()))


@pytest.mark.parametrize("prefix", ["", "module.", "student.backbone."])
def test_any_prefix_is_looked_through(prefix):
    wanted = encoder(net())
    weights = {f"{prefix}{name}": value for name, value in encoder(net(seed=1)).items()}
    found = fitted({**weights, "head.weight": torch.zeros(3)}, wanted, ask())
    assert list(found) == list(wanted)
    assert all(torch.equal(found[name], weights[f"{prefix}{name}"]) for name in wanted)


def test_beginnings_are_renamed_as_asked_or_by_the_backbones_aliases():
    wanted = encoder(net())
    weights = {
        name.replace("enc1.", "first.").replace("centre.", "deep."): value
        for name, value in encoder(net(seed=1)).items()
    }
    pairs = {"first": "enc1", "deep": "centre", **{f"enc{n}": f"enc{n}" for n in (2, 3, 4)}}
    for found in (
        fitted(weights, wanted, ask(**pairs)),
        fitted(weights, wanted, ask(), tuple(pairs.items())),
    ):
        assert torch.equal(found["enc1.conv1.weight"], weights["first.conv1.weight"])


def test_what_does_not_match_is_refused_by_name():
    wanted, weights = encoder(net()), encoder(net(seed=1))
    lacking = {name: value for name, value in weights.items() if name != "enc3.conv2.weight"}
    with pytest.raises(RequestError, match=r"lacks 1 of .* first 'enc3.conv2.weight'"):
        fitted(lacking, wanted, ask())
    other = {**weights, "enc2.norm1.weight": torch.zeros(9)}
    with pytest.raises(RequestError, match=r"'enc2.norm1.weight' of shape \(9,\)"):
        fitted(other, wanted, ask())
    # Counters of batch normalisation may be missing.
    few = {name: value for name, value in weights.items() if "num_batches" not in name}
    assert len(fitted(few, wanted, ask())) == len(wanted)


def test_torch_files_give_tensors_alone(tmp_path):
    weights = encoder(net(seed=1))
    torch.save({"epoch": 3, "state_dict": weights}, tmp_path / "run.ckpt")
    assert list(read_checkpoint(tmp_path / "run.ckpt")) == list(weights)
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(RequestError, match="more than tensors"):
        read_checkpoint(tmp_path / "module.pt")
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(RequestError):
        read_checkpoint(tmp_path / "text.pt")


def test_a_row_of_outside_weights_is_that_of_the_pre_training_they_are(prepared, tmp_path):
    """What SimCLR has trained here, taken in again as somebody else's, is the same network."""
    own = make_run(make_spec("simclr"), prepared[1], tmp_path / "own")
    (pretrain,) = (tmp_path / "own" / "stages" / "pretrain").glob("*/weights.safetensors")
    file = tmp_path / "theirs.safetensors"
    save_file({f"net.{name}": value for name, value in load_file(pretrain).items()}, file)
    spec = make_spec("external", {"weights": str(file), "source": "us"})
    made = make_run(spec, prepared[1], tmp_path / "other")
    networks = [
        load_file(next((tmp_path / name / "stages" / "finetune").glob("*/weights.safetensors")))
        for name in ("own", "other")
    ]
    assert all(torch.equal(value, networks[1][name]) for name, value in networks[0].items())
    record = json.dumps(made.record)
    assert own.record["protocol"]["hash"] == made.record["protocol"]["hash"]
    assert "from outside" in record
    assert made.record["outside"]["source"] == "us"


def test_without_a_file_it_is_scratch():
    kind = methods.get("external")
    assert kind(kind.Options()).checkpoint() is None
    assert kind(kind.Options()).transfers() == ()
