"""Takes the pictures of the page: three widths, light and dark, into `docs/pictures/`.

    bench report --store docs/acdc-few-labels.zip --out report.html
    python docs/scripts/page_pictures.py report.html --place s3

Needs Chromium and chromedriver on the path, and the package selenium.
"""

from __future__ import annotations

import argparse
import base64
import shutil
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

PICTURES = Path(__file__).parents[1] / "pictures"
SCREENS = {1440: 900, 768: 1024, 390: 844}
"""Height of the screen by its width."""
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")


def chromium() -> webdriver.Chrome:
    """A browser without a window."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for flag in FLAGS:
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


def main() -> None:
    """Opens the page at each width in each theme and writes what is seen first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("--place", default="top", help="where the page is opened, such as s3")
    parser.add_argument("--out", type=Path, default=PICTURES)
    asked = parser.parse_args()
    browser = chromium()
    try:
        for theme in ("light", "dark"):
            wanted = [
                {"name": "prefers-color-scheme", "value": theme},
                {"name": "prefers-reduced-motion", "value": "reduce"},
            ]
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wanted})
            for width, height in SCREENS.items():
                screen = {"width": width, "height": height, "deviceScaleFactor": 1}
                browser.execute_cdp_cmd(
                    "Emulation.setDeviceMetricsOverride", {**screen, "mobile": width < 600}
                )
                browser.get("about:blank")
                browser.get(f"{asked.page.resolve().as_uri()}#{asked.place}")
                WebDriverWait(browser, 60).until(
                    lambda one: one.execute_script("return document.documentElement.dataset.drawn")
                )
                browser.execute_script("scrollTo(0, 0)")
                seen = browser.execute_cdp_cmd(
                    "Page.captureScreenshot", {"format": "webp", "quality": 90}
                )
                file = asked.out / f"page-{width}-{theme}.webp"
                file.write_bytes(base64.b64decode(seen["data"]))
    finally:
        browser.quit()


if __name__ == "__main__":
    main()
