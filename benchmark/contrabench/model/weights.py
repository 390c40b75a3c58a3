"""A backbone's weights: the initial ones of a seed, and what one stage hands to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from contrabench.contracts.backbone import Backbone
from contrabench.contracts.registry import backbones
from contrabench.errors import AuditError
from contrabench.protocol import BackboneSpec, seed_for


def build_backbone(spec: BackboneSpec, init_seed: int, begin: bool = True) -> Backbone:
    """A registered backbone with its initial weights, as `built` makes it."""
    return built(backbones.get(spec.name), spec, init_seed, begin)


def built(kind: type[Backbone], spec: BackboneSpec, init_seed: int, begin: bool = True) -> Backbone:
    """Builds a backbone with the initial weights of a seed, and of that alone, on the CPU.

    Those from outside, where its options name any, take the place of the seed's, unless it does
    not `begin` with them because trained ones follow: nothing is then looked for. RequestError if
    they cannot be had.

    Its weights lie with the channels last, and so do all maps then: oneDNN convolves them a fifth
    faster, and tensor cores want them so (`docs/speed.md`).
    """
    options = kind.Options.model_validate(spec.options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for("backbone", init_seed))
        backbone = kind(spec, options)
        if begin:
            backbone.begin(options)
        return backbone.to(memory_format=torch.channels_last)


@dataclass(frozen=True)
class TransferReport:
    """What a hand-off did: the declared `parts`, and tensors by name or number.

    `matched` are copied, buffers included, with `parameters` values that train. `missing` are not
    in the file; those `unexpected` belong to no declared part and stay behind.
    """

    parts: tuple[str, ...]
    matched: int
    parameters: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """The report as JSON-like data."""
        return asdict(self)


def hand_off(
    weights: Mapping[str, Tensor], backbone: Backbone, parts: Sequence[str]
) -> TransferReport:
    """Copies declared parts of a saved backbone in place; AuditError, rule 7, if they don't fit."""
    own = backbone.state_dict()
    prefixes = tuple(f"{part}." for part in parts)
    wanted = [name for name in own if name.startswith(prefixes)]
    missing = tuple(name for name in wanted if name not in weights)
    misshapen = [n for n in wanted if n in weights and weights[n].shape != own[n].shape]
    if missing or misshapen or not set(parts) <= {name.split(".")[0] for name in wanted}:
        problem = (missing or tuple(misshapen) or tuple(parts))[0]
        raise AuditError(
            7,
            f"the hand-off of {', '.join(parts)} does not match ({len(missing)} tensors missing, "
            f"{len(misshapen)} of another shape, first '{problem}'); nothing was loaded. "
            "The weights belong to another backbone or the method declares a part it never had",
        )
    for name in wanted:
        own[name].copy_(weights[name])
    return TransferReport(
        parts=tuple(parts),
        matched=len(wanted),
        parameters=sum(p.numel() for part in parts for p in backbone.part(part).parameters()),
        missing=missing,
        unexpected=tuple(sorted(set(weights) - set(wanted))),
    )
