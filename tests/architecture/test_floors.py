"""That the shape of the code is what `docs/architecture.md` says: floors, rooms, no circles."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from . import rust_modules

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "fleche"
FILES = sorted(PACKAGE.rglob("*.py"))
PAGE = ROOT / "docs" / "architecture.md"

LONGEST = 500


def test_no_module_of_the_crate_uses_its_neighbour_in_a_circle() -> None:
    """Among the files and folders of each folder; a folder counts as one with all that is in it."""
    known = rust_modules.modules()
    neighbours: dict[rust_modules.Module, dict[rust_modules.Module, set[rust_modules.Module]]] = {}
    for module in known:
        for target in rust_modules.uses(module, known):
            pairs = enumerate(zip(module, target, strict=False))
            shared = next(depth for depth, (mine, its) in pairs if mine != its)
            edges = neighbours.setdefault(module[:shared], {})
            edges.setdefault(module[: shared + 1], set()).add(target[: shared + 1])
    assert len(neighbours) > 5
    found = [circle for edges in neighbours.values() for circle in rust_modules.circles(edges)]
    assert found == []


def test_a_circle_would_be_found() -> None:
    a, b, c = ("a",), ("b",), ("c",)
    assert rust_modules.circles({a: {b}, b: {c}, c: {a}}) == [[a, b, c]]
    assert rust_modules.circles({a: {b, c}, b: {c}}) == []


def test_the_engine_knows_no_python() -> None:
    known = rust_modules.modules()
    for module, file in known.items():
        if module[0] == "engine":
            assert not any(target[0] == "py" for target in rust_modules.uses(module, known)), module
            assert "pyo3" not in file.read_text(), module


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_modules_take_modules_from_the_package_itself(file: Path) -> None:
    """What `lint-imports` cannot tell: only the compiled core is no module that it knows."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "fleche":
            for name in (alias.name for alias in node.names):
                is_module = (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").exists()
                assert is_module or name == "_core", name
        elif isinstance(node, ast.Import):
            assert "fleche" not in [alias.name for alias in node.names]


def test_an_upward_import_inside_a_function_is_refused(tmp_path: Path) -> None:
    copy = tmp_path / "python" / "fleche"
    for file in FILES:
        target = copy / file.relative_to(PACKAGE)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(file.read_text())
    code = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"

    def lint() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path / "python"), "PATH": ""},
            capture_output=True,
            text=True,
        )

    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    passed = lint()
    assert passed.returncode == 0, passed.stdout + passed.stderr
    with (copy / "storage" / "void.py").open("a") as file:
        file.write("\n\ndef f():\n    from fleche.config import load_cache_config\n")
    refused = lint()
    assert refused.returncode == 1, refused.stdout + refused.stderr
    assert "fleche.storage is not allowed to import fleche.config" in refused.stdout


@pytest.mark.parametrize(
    "package",
    [path.parent for path in FILES if path.name == "__init__.py" and path.parent != PACKAGE],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_each_package_says_what_it_is_for(package: Path) -> None:
    said = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    assert re.search(r"\bmay import\b", " ".join(said.split()), re.IGNORECASE)


@pytest.mark.parametrize("folder", ["python", "src"])
def test_long_files_say_why(folder: str) -> None:
    for file in (ROOT / folder).rglob("*"):
        if file.suffix in (".py", ".pyi", ".rs"):
            lines = file.read_text().splitlines()
            if len(lines) > LONGEST:
                assert any("One file, as" in line for line in lines[:20]), file


def test_the_picture_is_that_of_the_code() -> None:
    code = "import architecture_picture as a; print(a.picture() == a.PICTURE.read_text())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "docs", capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n", "run python docs/architecture_picture.py"


def test_the_page_names_files_that_are_there() -> None:
    named = re.findall(r"`((?:python|src|docs|tests)/[\w./]+)`", PAGE.read_text())
    assert len(named) > 30
    assert [name for name in named if not (ROOT / name).exists()] == []
