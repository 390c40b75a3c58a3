"""What a browser makes of a page: its packed parts, unpacked."""

import base64
import re
import zlib


def unpacked(letters):
    return zlib.decompress(base64.b64decode(letters)).decode("utf-8")


def whole(page):
    """The page with everything in its place that is made when it is opened."""
    return re.sub(r' data-packed="([^"]*)">', lambda found: f">{unpacked(found[1])}", page)
