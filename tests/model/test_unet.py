import pytest
import torch
from torch.nn import functional

from contrabench.errors import RequestError
from contrabench.model.backbones.unet import UNet
from contrabench.model.weights import build_backbone
from contrabench.protocol import PARTS, BackboneSpec

NET = build_backbone(BackboneSpec(width=8), 0)


def test_taps_have_the_shapes_of_the_paper_picture():
    net = build_backbone(BackboneSpec(width=64), 0)
    maps = net.features(torch.zeros(1, 1, 160, 160), UNet.taps)
    shapes = {name: tuple(value.shape[1:]) for name, value in maps.items()}
    assert shapes == {
        "enc1": (64, 160, 160),
        "pool1": (64, 80, 80),
        "enc2": (128, 80, 80),
        "pool2": (128, 40, 40),
        "enc3": (256, 40, 40),
        "pool3": (256, 20, 20),
        "enc4": (512, 20, 20),
        "pool4": (512, 10, 10),
        "centre": (1024, 10, 10),
        "centre_up": (512, 20, 20),
        "dec4": (512, 20, 20),
        "dec3": (256, 40, 40),
        "dec2": (128, 80, 80),
        "dec1": (64, 160, 160),
    }
    assert {name: shape[0] for name, shape in shapes.items()} == dict(net.channels)


@pytest.mark.parametrize("tap", UNet.taps)
def test_a_tap_alone_equals_the_tap_among_all(tap):
    image = torch.randn(2, 1, 32, 32)
    assert torch.equal(NET.features(image, (tap,))[tap], NET.features(image, UNet.taps)[tap])


def test_nothing_behind_the_last_tap_gets_a_gradient():
    net = build_backbone(BackboneSpec(width=8), 0)
    net.features(torch.randn(2, 1, 32, 32), ("pool3",))["pool3"].sum().backward()
    reached = {name.split(".")[0] for name, p in net.named_parameters() if p.grad is not None}
    assert reached == {"enc1", "enc2", "enc3"}


def test_parts_cover_every_parameter_once():
    named = [id(p) for part in PARTS for p in NET.part(part).parameters()]
    assert sorted(named) == sorted(id(p) for p in NET.parameters())


def test_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    first = build_backbone(BackboneSpec(width=8), 5).state_dict()
    state = torch.random.get_rng_state()
    torch.manual_seed(2)
    second = build_backbone(BackboneSpec(width=8), 5).state_dict()
    other = build_backbone(BackboneSpec(width=8), 6).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["centre_up.0.weight"], other["centre_up.0.weight"])
    torch.manual_seed(1)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_normalisation_is_of_the_batch_or_of_each_image():
    image = torch.randn(4, 1, 32, 32)
    for options, alone in (({}, False), ({"norm": "instance"}, True)):
        net = build_backbone(BackboneSpec(width=8, options=options), 0)
        whole, part = (net.features(x, ("centre",))["centre"][:2] for x in (image, image[:2]))
        assert torch.allclose(whole, part, atol=1e-5) == alone
        assert bool(list(net.buffers())) != alone


def test_the_map_after_the_centre_is_that_of_hu_normalised_before_its_relu():
    """Without the ReLU the mean of this map would be a linear function of that of the centre."""
    net = build_backbone(BackboneSpec(width=8), 0)
    with torch.no_grad():
        maps = net.features(torch.randn(2, 1, 32, 32), ("centre", "centre_up"))
        raised = functional.conv_transpose2d(maps["centre"], net.centre_up[0].weight, stride=2)
    mean, variance = raised.mean((0, 2, 3)), raised.var((0, 2, 3), correction=0)
    expected = (raised - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
    assert torch.allclose(maps["centre_up"], expected.clamp(min=0), atol=1e-5)
    assert (expected < 0).any()


def test_unknown_names_are_refused():
    with pytest.raises(RequestError, match="dec9"):
        NET.features(torch.zeros(1, 1, 32, 32), ("dec9",))
    with pytest.raises(RequestError, match="tail"):
        NET.part("tail")


def test_it_compiles_whole_with_gradients():
    net = build_backbone(BackboneSpec(width=4), 0)
    image = torch.randn(2, 1, 32, 32)
    expected = net.features(image, ("centre", "dec1"))
    expected["dec1"].sum().backward()
    gradients = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    net.compile(backend="aot_eager", fullgraph=True)
    found = net.features(image, ("centre", "dec1"))
    found["dec1"].sum().backward()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    for parameter, gradient in zip(net.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_a_block_is_that_of_monais_dynunet(norm):
    blocks = pytest.importorskip("monai.networks.blocks.dynunet_block")
    net = build_backbone(BackboneSpec(width=8, options={"norm": norm}), 0)
    theirs = blocks.UnetBasicBlock(2, 1, 8, 3, 1, norm_name=(norm, {"affine": True}))
    # Both name their layers alike; only theirs wraps a convolution once more.
    theirs.load_state_dict(
        {
            name.replace(".weight", ".conv.weight") if "conv" in name else name: value
            for name, value in net.enc1.state_dict().items()
        }
    )
    image = torch.randn(3, 1, 32, 32)
    torch.testing.assert_close(net.enc1(image), theirs(image))
