import pytest
import torch

from contrabench.errors import AuditError
from contrabench.model.weights import build_backbone, hand_off
from contrabench.protocol import ENCODER, PARTS, BackboneSpec

START = build_backbone(BackboneSpec(width=8), 1).state_dict()
SOURCE = {
    name: value + 1 for name, value in build_backbone(BackboneSpec(width=8), 1).state_dict().items()
}


def fresh():
    return build_backbone(BackboneSpec(width=8), 0)


def test_declared_parts_travel_and_the_rest_stays():
    net, before = fresh(), fresh().state_dict()
    report = hand_off(SOURCE, net, ENCODER)
    for name, value in net.state_dict().items():
        expected = SOURCE[name] if name.split(".")[0] in ENCODER else before[name]
        assert torch.equal(value, expected), name
    travelled = [p for part in ENCODER for p in net.part(part).parameters()]
    assert report.matched == sum(name.split(".")[0] in ENCODER for name in SOURCE)
    assert report.parameters == sum(p.numel() for p in travelled)
    assert set(report.unexpected) == {n for n in SOURCE if n.split(".")[0] not in ENCODER}


def test_buffers_travel_too():
    net = fresh()
    net.centre.register_buffer("mean", torch.zeros(3))
    weights = {**SOURCE, "centre.mean": torch.arange(3.0)}
    hand_off(weights, net, ("centre",))
    assert net.centre.mean.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda w: {f"module.{name}": value for name, value in w.items()},
        lambda w: {n: v for n, v in w.items() if n != "centre.conv1.weight"},
        lambda w: {**w, "centre.conv1.weight": torch.zeros(2)},
        lambda w: {},
    ],
    ids=["renamed", "one missing", "wrong shape", "empty"],
)
def test_planted_mismatch_is_an_error_and_loads_nothing(spoil):
    net, before = fresh(), fresh().state_dict()
    with pytest.raises(AuditError, match="rule 7"):
        hand_off(spoil(SOURCE), net, PARTS)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
