"""What the gallery's modules bring with them."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("gallery.contract", ("numpy", "pandas", "torch", "contourpy", "PIL")),
        ("gallery.make", ("torch", "matplotlib", "monai")),
        ("page.gallery_view", ("torch", "contourpy", "PIL")),
    ],
)
def test_nothing_heavy_is_imported(module, heavy):
    code = f"import sys, contrabench.{module}; print(sorted(set({heavy!r}) & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
