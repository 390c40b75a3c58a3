"""The ResNet U-Net has the U-Net's maps by name and size, and timm's layers inside."""

import shutil

import pytest
import torch
from tests.makers.studies import make_spec

from contrabench.contracts.options import parse_options
from contrabench.contracts.registry import backbones
from contrabench.errors import RequestError
from contrabench.model.backbones import resnet_unet
from contrabench.model.backbones.resnet_unet import ResNetUNetOptions
from contrabench.model.weights import build_backbone
from contrabench.protocol import BackboneSpec, digest
from contrabench.stages.run import Run

timm = pytest.importorskip("timm")


def build(width=4, seed=0, channels=1, **options):
    return build_backbone(
        BackboneSpec(name="resnet_unet", width=width, in_channels=channels, options=options), seed
    )


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_maps_have_the_sizes_of_the_u_net(depth):
    net = build(depth=depth, channels=2)
    plain = build_backbone(BackboneSpec(width=4, in_channels=2), 0)
    image = torch.randn(2, 2, 48, 32)
    found, known = net.features(image, net.taps), plain.features(image, plain.taps)
    assert list(found) == list(known)
    for name, values in found.items():
        assert values.shape[2:] == known[name].shape[2:], name
        assert values.shape[1] == net.channels[name], name


def test_the_encoder_is_timms_with_a_first_stride_of_one():
    net = build(width=32).eval()
    own = timm.create_model("resnet18", in_chans=1, num_classes=0).eval()
    own.conv1.stride = (1, 1)
    names = {"enc1.0": "conv1", "enc1.1": "bn1", "enc2": "layer1", "enc3": "layer2"}
    names |= {"enc4": "layer3", "centre": "layer4"}
    state = {
        target + key.removeprefix(source): value
        for key, value in net.state_dict().items()
        for source, target in names.items()
        if key.startswith(f"{source}.")
    }
    assert not own.load_state_dict(state, strict=False).unexpected_keys
    image = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            net.features(image, ("centre",))["centre"], own.forward_features(image)
        )


def test_parts_cover_every_parameter_once_and_depend_on_the_seed():
    net, again, other = build(), build(), build(seed=1)
    owned = [id(p) for part in net.parts for p in net.part(part).parameters()]
    assert sorted(owned) == sorted(map(id, net.parameters()))
    states = [one.state_dict() for one in (net, again, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["enc1.0.weight"], states[2]["enc1.0.weight"])


@pytest.mark.parametrize("tap", ["pool1", "pool3", "centre_up", "dec2"])
def test_a_tap_alone_equals_the_tap_among_all(tap):
    net, image = build().eval(), torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        alone = net.features(image, (tap,))[tap]
        torch.testing.assert_close(alone, net.features(image, net.taps)[tap])


def test_nothing_behind_the_last_tap_gets_a_gradient():
    net = build()
    net.features(torch.randn(2, 1, 32, 32), ("pool3",))["pool3"].sum().backward()
    reached = {name.split(".")[0] for name, p in net.named_parameters() if p.grad is not None}
    assert reached == {"enc1", "enc2", "enc3"}


def save(folder, depth=18, colours=3, change=lambda weights: weights):
    """A file of the weights of timm's own ResNet, and these."""
    torch.manual_seed(depth)
    weights = timm.create_model(f"resnet{depth}", in_chans=colours).state_dict()
    torch.save(change(dict(weights)), folder / "resnet.pth")
    return folder / "resnet.pth", weights


def theirs(net):
    """A network's encoder under timm's names."""
    names = {own: name for name, own in net.aliases}
    return {
        names[own] + key.removeprefix(own): value
        for key, value in net.state_dict().items()
        for own in names
        if key.startswith(f"{own}.")
    }


@pytest.mark.parametrize(("depth", "wrapped"), [(18, False), (50, True)])
def test_weights_of_a_file_are_the_encoders_tensor_by_tensor(tmp_path, depth, wrapped):
    file, weights = save(
        tmp_path, depth, change=lambda found: {"state_dict": found} if wrapped else found
    )
    net = build(depth=depth, channels=3, weights="imagenet", pretrained=str(file))
    found = theirs(net)
    assert set(weights) - set(found) == {"fc.weight", "fc.bias"}
    assert all(torch.equal(value, weights[name]) for name, value in found.items())
    # The way up is the seed's own.
    plain = build(depth=depth, width=4, channels=3).state_dict()
    assert torch.equal(
        net.state_dict()["dec4.block.norm1.weight"], plain["dec4.block.norm1.weight"]
    )


def test_colours_are_summed_for_one_channel(tmp_path):
    file, weights = save(tmp_path)
    found = theirs(build(weights="imagenet", pretrained=str(file)))
    torch.testing.assert_close(found["conv1.weight"], weights["conv1.weight"].sum(1, keepdim=True))
    file, grey = save(tmp_path, colours=1)
    found = theirs(build(weights="lungs", pretrained=str(file)))
    assert torch.equal(found["conv1.weight"], grey["conv1.weight"])


def test_what_timm_downloads_is_what_its_file_holds(tmp_path, monkeypatch):
    file, weights = save(tmp_path)
    make = timm.create_model
    timms = make("resnet18")
    timms.load_state_dict(weights)
    monkeypatch.setattr(
        timm, "create_model", lambda *a, **k: timms if k.get("pretrained") else make(*a, **k)
    )
    resnet_unet._downloaded.cache_clear()
    of_file = build(weights="imagenet", pretrained=str(file)).state_dict()
    downloaded = build(weights="imagenet").state_dict()
    resnet_unet._downloaded.cache_clear()
    assert all(torch.equal(value, downloaded[name]) for name, value in of_file.items())


def lacking(weights):
    del weights["layer2.0.bn1.weight"]
    return weights


def misshapen(weights):
    return {**weights, "layer3.0.conv1.weight": torch.zeros(8, 8, 3, 3)}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lacking, "lacks 1 of .* first 'layer2.0.bn1.weight'"),
        (misshapen, "'layer3.0.conv1.weight' of shape"),
        (lambda weights: {}, "holds no tensors by name"),
    ],
)
def test_what_does_not_match_is_refused_by_name(tmp_path, change, told):
    file, _ = save(tmp_path, change=change)
    with pytest.raises(RequestError, match=told) as caught:
        build(weights="imagenet", pretrained=str(file))
    assert "\n" not in str(caught.value)


def test_a_file_needs_the_name_of_its_data_and_a_name_needs_a_file():
    options = backbones.get("resnet_unet").Options
    for given, told in (
        (["pretrained=x.pth"], "needs the name of the data"),
        (["weights=lungs"], "timm has no weights of 'lungs'"),
        (["weights=Image Net"], "weights"),
    ):
        with pytest.raises(RequestError, match=told):
            parse_options(options, given, "backbone 'resnet_unet'")


def test_weights_that_cannot_be_had_are_one_line(monkeypatch):
    make = timm.create_model

    def fails(*words, **more):
        if more.get("pretrained"):
            raise OSError("no route\nto host")
        return make(*words, **more)

    monkeypatch.setattr(timm, "create_model", fails)
    resnet_unet._downloaded.cache_clear()
    with pytest.raises(RequestError, match=r"cannot be had \(no route to host\)"):
        build(weights="imagenet")
    # Nothing is looked for where trained weights follow.
    spec = BackboneSpec(name="resnet_unet", width=4, options={"weights": "imagenet"})
    assert build_backbone(spec, 0, begin=False).channels["centre"] == 512


def test_what_is_in_the_file_tells_runs_apart_and_not_where_it_lies(tmp_path, prepared):
    (tmp_path / "there").mkdir()
    first, _ = save(tmp_path)
    second = shutil.copy(first, tmp_path / "there" / "same.pth")
    third, _ = save(tmp_path / "there", change=lambda found: {**found, "more": torch.ones(1)})
    spec = make_spec("scratch").model_copy(update={"backbone": "resnet_unet"})
    runs = []
    for file in (first, second, third):
        options = ResNetUNetOptions(weights="lungs", pretrained=str(file)).model_dump()
        run = Run(spec.model_copy(update={"backbone_options": options}), prepared[1])
        runs.append([digest(run.protocol), digest(run.asked), digest(run.training_spec())])
        assert str(tmp_path) not in str((run.protocol, run.asked, run.training_spec()))
        assert run.protocol.backbone.options["weights"] == "lungs"
        assert run.from_outside == [
            "the network begins with weights of lungs, of a file of the user"
        ]
    assert runs[0] == runs[1]
    assert all(one != other for one, other in zip(runs[0], runs[2], strict=True))
    gone = ResNetUNetOptions(weights="lungs", pretrained=str(tmp_path / "gone")).model_dump()
    with pytest.raises(RequestError, match="gone cannot be read"):
        _ = Run(spec.model_copy(update={"backbone_options": gone}), prepared[1]).network


@pytest.mark.parametrize("name", ["pool2", "pool3", "pool4"])
def test_a_given_map_beside_the_way_changes_no_other(name):
    net, image = build().eval(), torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        every = net.features(image, net.taps)
        strange = torch.randn_like(every[name])
        found = net.features(image, net.taps, {name: strange})
    assert torch.equal(found.pop(name), strange)
    assert all(torch.equal(value, every[key]) for key, value in found.items())


def test_it_is_listed():
    assert "resnet_unet" in backbones.names()


@pytest.mark.parametrize("depth", [18, 50])
def test_the_exported_encoder_is_that_of_segmentation_models_pytorch_too(depth):
    smp = pytest.importorskip("segmentation_models_pytorch")
    net = build(width=32, depth=depth).eval()
    theirs = smp.encoders.get_encoder(f"resnet{depth}", in_channels=1, weights=None)
    weights = dict(net.counterpart("timm", whole=False).weights)
    assert set(weights) == set(theirs.state_dict())
    theirs.load_state_dict(weights)
    theirs.conv1.stride = (1, 1)
    image = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        found = theirs.eval()(image)[1:]
        own = net.features(image, ["enc1", "enc2", "enc3", "enc4", "centre"])
    for one, other in zip(found, own.values(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
