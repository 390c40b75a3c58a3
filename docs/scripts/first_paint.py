"""After how many milliseconds a browser on a slow processor has painted the page's first screen.

    bench report --store docs/acdc-few-labels.zip --out report.html
    python docs/scripts/first_paint.py report.html --slower 4

Needs Chromium and chromedriver on the path, and the package selenium. Prints the median and the
range of ten openings, by the clock of the browser.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from page_pictures import chromium

PAINTED = "return performance.getEntriesByName('first-contentful-paint')[0].startTime"


def main() -> None:
    """Opens the page ten times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("--slower", type=float, default=4, help="how many times slower")
    asked = parser.parse_args()
    browser = chromium()
    times = []
    try:
        browser.execute_cdp_cmd("Emulation.setCPUThrottlingRate", {"rate": asked.slower})
        for _ in range(10):
            browser.get("about:blank")
            browser.get(asked.page.resolve().as_uri())
            times.append(float(browser.execute_script(PAINTED)))
    finally:
        browser.quit()
    middle = statistics.median(times)
    sys.stdout.write(f"{middle:.0f} ms ({min(times):.0f} to {max(times):.0f})\n")


if __name__ == "__main__":
    main()
