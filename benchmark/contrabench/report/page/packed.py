"""What the page unpacks when it is looked at: as it stands it would outweigh all that is read."""

from __future__ import annotations

import base64
import zlib


def packed(text: str) -> str:
    """A text, deflated, in letters that may stand in a script element."""
    return base64.b64encode(zlib.compress(text.encode("utf-8"), 9)).decode("ascii")
