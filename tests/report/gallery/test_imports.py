"""What the gallery's modules bring with them."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("contracts.gallery", ("numpy", "pandas", "torch", "contourpy", "PIL")),
        ("report.gallery.make", ("torch", "matplotlib", "monai")),
        ("report.page.view", ("torch", "contourpy", "PIL")),
    ],
)
def test_nothing_heavy_is_imported(module, heavy):
    code = f"import sys, contrabench.{module}; print(sorted(set({heavy!r}) & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
