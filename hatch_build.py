"""Build hook: puts the content folders inside the package of a standard wheel."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

CONTENT = ("methods", "datasets", "reports")


class ContentHook(BuildHookInterface):
    """Maps `methods/x.py` of the checkout to `contrabench/methods/x.py` of the wheel; packages too.

    An editable install reads the checkout itself, so nothing is copied for it: a copy
    in site-packages would go stale with the first edit.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Adds one forced file for each content file of a standard build."""
        if version != "standard":
            return
        for folder in CONTENT:
            for path in sorted(Path(self.root, folder).rglob("*.py")):
                place = path.relative_to(self.root).as_posix()
                build_data["force_include"][str(path)] = f"contrabench/{place}"
