"""Run by the interpreter of a fresh environment after `pip install .`: is fleche all there?

    python tests/install/check_install.py

Standard library only: that nothing else arrived is what it checks.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BROUGHT_BY_VENV = {"pip", "setuptools"}


def check_nothing_else_arrived() -> None:
    installed = {distribution.metadata["Name"] for distribution in metadata.distributions()}
    assert installed - BROUGHT_BY_VENV == {"fleche"}, installed
    required = [r for r in metadata.requires("fleche") or [] if "extra ==" not in r]
    assert required == [], required


def check_package() -> None:
    import fleche

    package = Path(fleche.__file__).parent
    assert ROOT not in package.parents or ".nox" in package.parts, f"not the installed: {package}"
    assert fleche.__version__ == metadata.version("fleche")
    for name in ("py.typed", "_core.pyi"):
        assert (package / name).is_file(), f"{name} is missing from the wheel"


def check_quickstart() -> None:
    with tempfile.TemporaryDirectory() as folder:
        examples = Path(folder, "examples")
        shutil.copytree(
            ROOT / "examples", examples, ignore=shutil.ignore_patterns(".fleche", "__pycache__")
        )
        for word in ("computed", "loaded"):
            run = [sys.executable, "-W", "error", str(examples / "quickstart.py")]
            output = subprocess.run(run, check=True, stdout=subprocess.PIPE, text=True).stdout
            print(output, end="")
            assert output.count(word) == 2, f"expected two results to be {word}"


def check_code_digests() -> None:
    """Code has the same digest in every supported version of Python."""
    show = [sys.executable, str(ROOT / "tests" / "data" / "make_code_digests.py"), "--show"]
    output = subprocess.run(show, check=True, stdout=subprocess.PIPE, text=True).stdout
    recorded = (ROOT / "tests" / "data" / "code_digests.json").read_text("utf-8")
    assert json.loads(output) == json.loads(recorded), output


if __name__ == "__main__":
    check_nothing_else_arrived()
    check_package()
    check_quickstart()
    check_code_digests()
    print(f"fleche works on Python {sys.version.split()[0]}")
