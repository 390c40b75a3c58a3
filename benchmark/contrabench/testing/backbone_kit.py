"""The kit for backbones: does a network keep the contract that methods and the engine rely on?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from contrabench.contracts.backbone import Backbone
from contrabench.contracts.options import parse_options
from contrabench.contracts.registry import backbones
from contrabench.testing import checks_maps as maps
from contrabench.testing import checks_network as layers
from contrabench.testing.network_trial import NetworkTrial
from contrabench.testing.report import (
    CheckResult,
    ConformityReport,
    Requirement,
    find,
    keeping_global_state,
    results,
)

BACKBONE_CHECKS: Mapping[str, Requirement] = MappingProxyType(
    {
        "options": Requirement(layers.check_options, whole=True),
        "builds": Requirement(layers.check_builds, ("options",), whole=True),
        "declaration": Requirement(layers.check_declaration, ("builds",), whole=True),
        "parts": Requirement(layers.check_parts, ("declaration",), whole=True),
        "seeds": Requirement(layers.check_seeds, ("builds",), whole=True),
        "maps": Requirement(maps.check_maps, ("declaration",), whole=True),
        "multiple": Requirement(maps.check_multiple, ("maps",), whole=True),
        "taps": Requirement(maps.check_taps, ("maps",), whole=True),
        "memory": Requirement(maps.check_memory, ("taps",), whole=True),
        "batch": Requirement(layers.check_batch, ("memory",), whole=True),
        "frozen": Requirement(layers.check_frozen, ("parts", "taps"), whole=True),
        "state": Requirement(layers.check_state, ("parts", "taps", "seeds"), whole=True),
        "order": Requirement(maps.check_order, ("parts", "taps", "state"), whole=True),
        "given": Requirement(maps.check_given, ("order",), whole=True),
        "gradients": Requirement(layers.check_gradients, ("parts", "order", "memory"), whole=True),
    }
)
"""All checks of a backbone by name, in the order in which they are made."""


def check_backbone(
    backbone: type[Backbone] | str | Path, options: Mapping[str, Any] | None = None
) -> ConformityReport:
    """Checks whether a backbone keeps the contract, on noise, at tiny size and without any data.

    It takes some seconds on one CPU core. A backbone is a class, a registered name, or a plug-in
    file with all backbones in it; options are its defaults if None. RequestError for an unknown
    name, a file that cannot be imported, or an option that the backbone does not take.
    """
    known = (
        {backbone.__name__: backbone} if isinstance(backbone, type) else find(backbones, backbone)
    )
    told: list[CheckResult] = []
    for name, kind in known.items():
        made = parse_options(kind.Options, options, f"backbone '{name}'") if options else None
        with keeping_global_state():
            told += results(BACKBONE_CHECKS, NetworkTrial(kind, made), name)
    return ConformityReport(tuple(told))
