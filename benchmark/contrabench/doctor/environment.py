"""Python, packages and plug-ins: whether what is installed fits together."""

from __future__ import annotations

import importlib
import platform
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from contrabench.contracts import discovery, registry
from contrabench.doctor.findings import Check, Finding, Severity
from contrabench.errors import ContrabenchError
from contrabench.text import counted, one_line

DISTRIBUTION = "contrabench"


def check_versions() -> Check:
    """Compares Python and the installed packages with what contrabench asks for."""
    title = "versions"
    try:
        asked = metadata.requires(DISTRIBUTION) or []
        python = metadata.metadata(DISTRIBUTION)["Requires-Python"]
    except metadata.PackageNotFoundError:
        finding = Finding(
            Severity.warning,
            f"{DISTRIBUTION} is imported from a folder and not installed",
            "nothing says which versions it needs, and plug-ins cannot be found by name",
            "install it: pip install -e . in its folder",
        )
        return Check(title, f"Python {platform.python_version()}", (finding,))
    needed = [Requirement(text) for text in asked]
    needed = [item for item in needed if not item.marker or item.marker.evaluate({"extra": ""})]
    findings = [] if python is None else _python_findings(SpecifierSet(python))
    for item in needed:
        findings += _package_findings(item)
    seen = f"Python {platform.python_version()}, {counted(len(needed), 'package')}"
    return Check(title, seen, tuple(findings))


def _python_findings(asked: SpecifierSet) -> list[Finding]:
    if asked.contains(platform.python_version(), prereleases=True):
        return []
    return [
        Finding(
            Severity.error,
            f"Python {platform.python_version()} is installed, {asked} is needed",
            "parts of contrabench or its packages will not import",
            "make an environment with another Python",
        )
    ]


def _package_findings(asked: Requirement) -> list[Finding]:
    wanted = f"{asked.name}{asked.specifier}"
    try:
        found = metadata.version(asked.name)
    except metadata.PackageNotFoundError:
        return [
            Finding(
                Severity.error,
                f"the package {asked.name} is missing",
                "commands that need it will fail",
                f"pip install '{wanted}'",
            )
        ]
    if asked.specifier.contains(found, prereleases=True):
        return []
    return [
        Finding(
            Severity.warning,
            f"{asked.name} {found} is installed, {wanted} is asked for",
            "nobody has tried this version; it may fail, or give other numbers",
            f"pip install '{wanted}'",
        )
    ]


def check_operators() -> Check:
    """Calls a compiled operator of torchvision, which only fits the torch it was built for."""
    title = "torchvision's operators"
    try:
        import torch

        nms = importlib.import_module("torchvision.ops").nms
        kept = nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 2), torch.tensor([1.0, 0.5]), 0.5)
        if kept.tolist() != [0]:
            raise RuntimeError(f"nms of two equal boxes keeps {kept.tolist()}")
    # A wrong pair shows as ImportError, RuntimeError, AttributeError or OSError.
    except Exception as error:
        finding = Finding(
            Severity.error,
            f"torchvision does not work with this torch ({one_line(error)})",
            "the two were built for other versions; lightly needs both, and methods with it",
            "install a pair that fits: pip install --force-reinstall torch torchvision",
        )
        return Check(title, "broken", (finding,))
    pair = [f"{name} {metadata.version(name)}" for name in ("torch", "torchvision")]
    return Check(title, " with ".join(pair))


def check_plugins() -> Check:
    """Imports every method, dataset and report format."""
    title = "plug-ins"
    findings: dict[Finding, None] = {}
    usable = []
    try:
        for kind, entries in (
            ("method", registry.methods.entries()),
            ("dataset", registry.datasets.entries()),
            ("report format", registry.reports.entries()),
        ):
            usable.append(counted(sum(entry.error is None for entry in entries), kind))
            for entry in entries:
                if entry.error is not None:
                    findings.setdefault(_broken(entry.name, entry.origin, entry.error))
    except ContrabenchError as error:
        finding = Finding(
            Severity.error,
            one_line(error),
            "no plug-in given by path can be used, and most commands stop",
            f"mend the path in --plugin or {discovery.VARIABLE}",
        )
        findings.setdefault(finding)
    return Check(title, ", ".join(usable), tuple(findings))


def _broken(name: str, origin: str, reason: str) -> Finding:
    return Finding(
        Severity.error,
        f"the plug-in '{name}' ({origin}) cannot be used: {reason}",
        "what it would register is missing; nothing else is affected",
        "mend the file, or leave it out",
    )
