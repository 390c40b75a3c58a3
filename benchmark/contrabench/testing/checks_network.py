"""Checks of a backbone's layers: what it declares, what its parts own, how it begins and trains."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from contrabench.contracts.backbone import Backbone, BackboneInfo
from contrabench.protocol import HEAD
from contrabench.testing.checks_declared import demand_options
from contrabench.testing.network_trial import NetworkTrial, differing, noise
from contrabench.testing.report import FaultError

_WIDTHS, _CHANNELS = (4, 6, 8), (1, 3)


def check_options(trial: NetworkTrial) -> None:
    """Every option has a valid default and a description, and survives JSON."""
    demand_options(trial.kind.Options, trial.options, "backbone")
    if strange := [
        name for name in trial.kind.files if name not in trial.kind.Options.model_fields
    ]:
        raise FaultError(
            f"`files` names '{strange[0]}', which is no option", "name options that take a path"
        )


def check_builds(trial: NetworkTrial) -> None:
    """It can be built for every width and number of channels, on the CPU and in float32."""
    for width in _WIDTHS:
        for channels in _CHANNELS:
            network = trial.build(width=width, channels=channels)
            if network.in_channels != channels:
                raise FaultError(
                    f"built for {channels} channels, its `in_channels` is {network.in_channels}",
                    "call super().__init__(spec, options) first and leave `in_channels` alone",
                )
            for name, value in network.state_dict().items():
                if value.device.type != "cpu" or value.dtype not in (torch.float32, torch.int64):
                    raise FaultError(
                        f"'{name}' is a tensor of {value.dtype} on {value.device.type}",
                        "build it on the CPU in float32; the engine moves and casts it",
                    )


def check_declaration(trial: NetworkTrial) -> None:
    """It says what it is, and its names of parts and taps fit together."""
    network = trial.network
    info = getattr(network, "info", None)
    if not isinstance(info, BackboneInfo):
        raise FaultError("`info` is no BackboneInfo", "make it of contrabench.BackboneInfo")
    for name in ("title", "source"):
        if not getattr(info, name).strip():
            raise FaultError(f"`info.{name}` is empty", "fill it in; readers know it by that")
    for name in ("parts", "taps"):
        names = getattr(network, name)
        if not isinstance(names, tuple) or not names or len(set(names)) < len(names):
            raise FaultError(
                f"`{name}` is {names!r}", "make it a tuple of names, each of them once"
            )
    if taken := [name for name in network.parts if name == HEAD or hasattr(Backbone, name)]:
        raise FaultError(
            f"a part is called '{taken[0]}', as something else is already",
            "give it another name: the segmentation head's and those of torch's and contrabench's "
            "own attributes are taken",
        )
    ends = {f"part '{name}'": name for name in network.parts}
    named = {"`deepest`": network.deepest, "`finest`": network.finest}
    deep = {f"`deep_taps[{place}]`": name for place, name in enumerate(network.deep_taps)}
    for who, name in {**ends, **named, **deep}.items():
        if name not in network.taps:
            raise FaultError(
                f"{who} is '{name}', which is no tap", f"the taps are {', '.join(network.taps)}"
            )
    if len(network.deep_taps) != 3 or network.deep_taps[0] != network.finest:
        raise FaultError(
            f"`deep_taps` are {', '.join(network.deep_taps)}",
            "name `finest`, and the taps at a half and at a quarter of its resolution",
        )
    if list(network.parts) != sorted(network.parts, key=network.taps.index):
        raise FaultError(
            "`parts` stand in another order than their taps", "name both from the image on"
        )
    if strange := [name for name in network.taps if not network.channels.get(name, 0) >= 1]:
        raise FaultError(
            f"`channels` has no number for tap '{strange[0]}'", "give one for every tap"
        )


def check_parts(trial: NetworkTrial) -> None:
    """Parts are children, and each tensor belongs to exactly one of them."""
    network = trial.network
    children = dict(network.named_children())
    if lost := [part for part in network.parts if part not in children]:
        raise FaultError(
            f"part '{lost[0]}' is no child module",
            "assign the layers of a part to an attribute of its name, in a module of their own",
        )
    for name in network.state_dict():
        if name.partition(".")[0] not in network.parts:
            raise FaultError(
                f"'{name}' belongs to no part",
                "put it into the part that ends with the map it is for: nothing else is trained "
                "in a stage and handed over",
            )
    owners: dict[int, str] = {}
    for part in network.parts:
        for name, weight in network.part(part).named_parameters(part, remove_duplicate=False):
            owner = owners.setdefault(id(weight), name)
            if owner.partition(".")[0] != part:
                raise FaultError(
                    f"'{name}' and '{owner}' are one parameter",
                    "give each part its own: a stage that trains one of them changes the other",
                )
    if hidden := next(_hidden(network), None):
        raise FaultError(
            f"'{hidden}' holds layers or parameters where torch does not look for them",
            "use nn.ModuleList or nn.ModuleDict: they would be neither trained nor kept",
        )


def _hidden(network: Backbone) -> Iterator[str]:
    """Attributes of modules with layers or parameters inside of Python's own containers."""
    for place, module in network.named_modules():
        for name, value in vars(module).items():
            inside = value.values() if isinstance(value, dict) else value
            if name.startswith("_") or not isinstance(value, list | tuple | set | dict):
                continue
            if any(isinstance(one, nn.Module | nn.Parameter) for one in inside):
                yield f"{place}.{name}".lstrip(".")


def check_seeds(trial: NetworkTrial) -> None:
    """The same seed gives the same weights, and another seed others."""
    first, again, other = (trial.build(seed).state_dict() for seed in (0, 0, 1))
    if changed := [name for name, value in first.items() if not torch.equal(value, again[name])]:
        raise FaultError(
            f"'{changed[0]}' is another when it is built again from the same seed",
            "draw initial weights with torch's own generator, as torch.nn.init does, and from no "
            "other",
        )
    if all(torch.equal(value, other[name]) for name, value in first.items()):
        raise FaultError(
            "its weights are the same whatever the seed",
            "do not seed torch in the constructor: the engine has done so",
        )


def check_state(trial: NetworkTrial) -> None:
    """Weights that are saved and loaded into a network of another seed give the same maps."""
    other = trial.build(seed=1)
    other.load_state_dict(trial.network.state_dict())
    if changed := differing(trial.maps, trial.ask(other)):
        raise FaultError(
            f"loaded into a network of another seed, its weights give another map '{changed[0]}'",
            "register tensors that it computes with as parameters or buffers",
        )


def check_gradients(trial: NetworkTrial) -> None:
    """The finest map gives a gradient to every parameter."""
    network = trial.build().train()
    finest = network.features(trial.image(), (network.finest,))[network.finest]
    (finest * noise(finest.shape)).sum().backward()  # type: ignore[no-untyped-call]
    for name, weight in network.named_parameters():
        if weight.grad is None:
            raise FaultError(
                f"'{name}' gets no gradient from the finest map",
                "let every layer take part in it: drop what nothing reads, and do not detach",
            )
    for part in network.parts:
        grads = [one.grad for one in network.part(part).parameters() if one.grad is not None]
        if grads and not any(bool(grad.any()) for grad in grads):
            raise FaultError(
                f"the gradient of part '{part}' is zero",
                "look for what is multiplied by zero or never above it",
            )


def check_frozen(trial: NetworkTrial) -> None:
    """Nothing is written in evaluation, nor in parts that are in evaluation while others train."""
    network = trial.build().train()
    for frozen in (network.parts[:1], network.encoder, network.parts):
        network.train()
        for part in frozen:
            network.part(part).eval()
        if frozen == network.parts:
            network.eval()
        before = {name: value.clone() for name, value in network.state_dict().items()}
        trial.ask(network)
        if written := [
            name
            for name in _differing_bits(before, network.state_dict())
            if name.partition(".")[0] in frozen
        ]:
            raise FaultError(
                f"'{written[0]}' is written while its part is in evaluation",
                "let layers ask their own `training`, and let train() and eval() be torch's",
            )


def _differing_bits(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[str]:
    return [name for name, value in first.items() if not torch.equal(value, second[name])]


def check_batch(trial: NetworkTrial) -> None:
    """No layer but batch normalisation mixes the images of a batch, in evaluation or training."""
    for training in (False, True):
        network = trial.build().train(training)
        for layer in network.modules():
            # What is random, or a statistic of the batch by right, stands still.
            if isinstance(layer, _BatchNorm | nn.modules.dropout._DropoutNd):
                layer.eval()
        image = trial.image()
        with torch.no_grad():
            together = network.features(image, network.taps)
            alone = network.features(image[1:2], network.taps)
        if changed := differing({name: one[1:2] for name, one in together.items()}, alone):
            raise FaultError(
                f"map '{changed[0]}' of an image depends on the others of its batch, in "
                f"{'training' if training else 'evaluation'}",
                "normalise within images, or with torch's own batch normalisation, whose "
                "statistics the engine takes over all devices",
            )
