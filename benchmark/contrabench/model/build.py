"""A backbone by its name, with the initial weights of a seed."""

from __future__ import annotations

import torch

from contrabench.contracts.backbone import Backbone
from contrabench.contracts.registry import backbones
from contrabench.protocol import BackboneSpec, seed_for


def build_backbone(spec: BackboneSpec, init_seed: int) -> Backbone:
    """Builds the backbone with the initial weights of a seed, on the CPU.

    The global random state is left as it was, so that the weights depend on the seed alone.

    Raises:
        RequestError: if there is no backbone of that name.
    """
    kind = backbones.get(spec.name)
    options = kind.Options.model_validate(spec.options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for("backbone", init_seed))
        return kind(spec, options)
