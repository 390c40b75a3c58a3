"""Checks of a backbone's maps: their sizes, and what they depend on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from contrabench.contracts.backbone import Backbone
from contrabench.testing.network_trial import NetworkTrial, alike, differing, move, noise
from contrabench.testing.report import FaultError

_SIDES = ((2, 2), (2, 3), (5, 2))


def _demand_finest(network: Backbone, image: Tensor, finest: Tensor) -> None:
    if finest.shape[2:] != image.shape[2:]:
        raise FaultError(
            f"the finest map of an image of {_sides(image)} is one of {_sides(finest)}",
            "let `finest` name a map of the image's own size",
        )


def _sides(value: Tensor) -> str:
    return " x ".join(map(str, value.shape[2:]))


def check_maps(trial: NetworkTrial) -> None:
    """Maps are those asked for, with the channels and sizes that are declared, in float32."""
    network, image = trial.network, trial.image()
    for channels in (1, 3):
        made = trial.build(channels=channels)
        with torch.no_grad():
            found = made.features(trial.image(channels=channels), made.taps)
        if set(found) != set(made.taps):
            raise FaultError(
                f"asked for all taps, it gives {', '.join(found) or 'none'}",
                "give a map for each tap that is asked for, and no other",
            )
        for name, value in found.items():
            if value.dim() != 4 or value.shape[:2] != (len(image), made.channels[name]):
                raise FaultError(
                    f"map '{name}' has the shape {tuple(value.shape)}, and {made.channels[name]} "
                    "channels are declared",
                    "let `channels` say what is computed, as (B, channels, h, w)",
                )
            if value.dtype != torch.float32:
                raise FaultError(f"map '{name}' is of {value.dtype}", "leave casts to the engine")
    _demand_finest(network, image, trial.maps[network.finest])
    for part, name in zip((1, 2, 4), network.deep_taps, strict=True):
        value = trial.maps[name]
        if tuple(side * part for side in value.shape[2:]) != tuple(image.shape[2:]):
            raise FaultError(
                f"deep tap '{name}' is {_sides(value)} for an image of {_sides(image)}",
                "let `deep_taps` name taps at the image's size, at a half and at a quarter of it",
            )


def check_multiple(trial: NetworkTrial) -> None:
    """Images twice as large as `multiple` can be trained on, and those of other multiples."""
    network = trial.build().train()
    for factors in _SIDES:
        image = trial.image(factors)
        try:
            with torch.no_grad():
                finest = network.features(image, (network.finest,))[network.finest]
        # A stranger's code runs here, and may raise anything.
        except Exception as error:
            raise FaultError(
                f"with `multiple` {network.multiple}, an image of {_sides(image)} cannot be used "
                f"({type(error).__name__})",
                "let `multiple` be what sides are divided by on the way to the deepest map",
            ) from error
        _demand_finest(network, image, finest)


def check_taps(trial: NetworkTrial) -> None:
    """A map is the same whatever others are asked for, and when it is asked for again."""
    network, every = trial.network, trial.maps
    asked = [*((name,) for name in network.taps), tuple(reversed(network.taps)), network.taps]
    for taps in asked:
        found = trial.ask(network, taps)
        if set(found) != set(taps) or differing(found, every):
            name = next(iter(differing(found, every)), taps[0])
            whole = len(taps) == len(network.taps)
            raise FaultError(
                f"map '{name}' is another "
                + ("when all are asked for again" if whole else "alone than among all"),
                "compute a map from the image and the weights only, and let no later layer write "
                "into it: no in-place activation behind a tap",
            )


def check_given(trial: NetworkTrial) -> None:
    """Maps that are given are taken as they are, and what lies behind is computed from them."""
    network, every = trial.network, trial.maps
    for number, name in enumerate(network.taps):
        if changed := differing(every, trial.ask(network, given={name: every[name].clone()})):
            raise FaultError(
                f"given map '{name}' as it is, map '{changed[0]}' is another",
                "go on from a map that is given as from one that is computed",
            )
        strange = noise(every[name].shape, number)
        found = trial.ask(network, given={name: strange.clone()})
        if not alike(found[name], strange):
            raise FaultError(
                f"given another map '{name}', it is not the one that is returned",
                "look into `given` before a map is computed",
            )
        if changed := [one for one in differing(every, found) if _before(network, one, name)]:
            raise FaultError(
                f"given another map '{name}', the earlier map '{changed[0]}' is another",
                "name taps in the order in which they are computed",
            )
    given = {network.deepest: noise(every[network.deepest].shape)}
    if network.deepest != network.finest and network.finest not in differing(
        every, trial.ask(network, given=given)
    ):
        raise FaultError(
            "given another deepest map, the finest one is the same",
            "compute what lies behind a map that is given from it",
        )


def _before(network: Backbone, first: str, second: str) -> bool:
    return network.taps.index(first) < network.taps.index(second)


def check_order(trial: NetworkTrial) -> None:
    """A map depends on its own part, on no later one, and nothing behind the last is computed."""
    every = trial.maps
    for part in trial.network.parts:
        moved = trial.build()
        move(moved, part)
        changed = differing(every, trial.ask(moved))
        if early := [name for name in changed if _before(moved, name, part)]:
            raise FaultError(
                f"map '{early[0]}' depends on part '{part}', which comes later",
                "name parts and taps in the order in which they are computed",
            )
        has_weights = next(moved.part(part).parameters(), None) is not None
        if has_weights and part not in changed:
            raise FaultError(
                f"map '{part}' does not depend on the part of its name",
                "let a part end with the tap of its name",
            )
        _demand_lazy(trial, part)


def _demand_lazy(trial: NetworkTrial, last: str) -> None:
    """A fault if a layer of a later part is called when a map is asked for."""
    network, called = trial.build(), []

    def note(part: str) -> Any:
        return lambda *_: called.append(part)

    for part in network.parts:
        if _before(network, last, part):
            for layer in network.part(part).modules():
                if not isinstance(layer, nn.ModuleDict | nn.ModuleList):
                    layer.register_forward_hook(note(part))
    trial.ask(network, (last,))
    if called:
        raise FaultError(
            f"part '{called[0]}' is computed where only '{last}' is asked for",
            "end at the last tap that is asked for",
        )


def check_memory(trial: NetworkTrial) -> None:
    """An image is read whatever its layout in memory, and left as it is."""
    network, image = trial.network, trial.image()
    wide = torch.zeros(*image.shape[:3], 2 * image.shape[3])
    wide[..., ::2] = image
    layouts = {
        "with the channels last": trial.image(channels=1).to(memory_format=torch.channels_last),
        "that is a part of another": wide[..., ::2],
        "that is transposed": image.transpose(2, 3).contiguous().transpose(2, 3),
    }
    for words, one in layouts.items():
        with torch.no_grad():
            found = network.features(one, network.taps)
        if changed := differing(trial.maps, found):
            raise FaultError(
                f"map '{changed[0]}' of an image {words} is another",
                "use .reshape, .flatten and convolutions, which do not mind the layout",
            )
        if not torch.equal(one, image):
            raise FaultError(
                "the image is another afterwards", "write into no tensor that is handed in"
            )
