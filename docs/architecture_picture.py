"""Draws `docs/architecture.svg`: the floors of the package, and the rooms on each.

    python docs/architecture_picture.py

The floors of the Python package are those that `lint-imports` checks (`pyproject.toml`), those of
the Rust crate are computed from its `use` lines; a test compares the picture with the code.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.architecture import rust_modules  # noqa: E402

PICTURE = ROOT / "docs" / "architecture.svg"
PACKAGE = ROOT / "python" / "fleche"

WIDTH, NAMES, LINE, PAD, CHARACTERS = 1000, 150, 18, 9, 112


def floors_of_python() -> list[tuple[str, list[str]]]:
    """From the top: what a floor is called, and the files in it."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    [layers] = [c["layers"] for c in config["tool"]["importlinter"]["contracts"] if "layers" in c]
    return [
        (layer.replace(" : ", ", "), [r for name in layer.split(" : ") for r in rooms_of(name)])
        for layer in layers
    ]


def rooms_of(name: str) -> list[str]:
    """The files of a package, without those of packages in it, which stand as folders."""
    folder = PACKAGE / name
    if not folder.is_dir():
        return []
    files = [path.stem for path in folder.glob("*.py") if path.stem != "__init__"]
    folders = [f"{path.name}/" for path in folder.iterdir() if (path / "__init__.py").exists()]
    return sorted(files) + sorted(folders)


def purpose_of(name: str) -> str:
    """The first sentence of a module's docstring."""
    path = PACKAGE / name / "__init__.py"
    path = path if path.exists() else PACKAGE / f"{name}.py"
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return " ".join(text.split("\n\n")[0].split()).split(". ")[0].rstrip(".")


def floors_of_rust(top: str) -> list[list[str]]:
    """From the top: the modules of `src/py` or `src/engine`, each above all that it uses."""
    known = rust_modules.modules()
    rooms = sorted({module[1] for module in known if module[0] == top and len(module) > 1})
    uses: dict[str, set[str]] = {room: set() for room in rooms}
    for module in known:
        if module[0] != top or len(module) < 2:
            continue
        for target in rust_modules.uses(module, known):
            if target[0] == top and len(target) > 1 and target[1] != module[1]:
                uses[module[1]].add(target[1])
    height: dict[str, int] = {}

    def height_of(room: str) -> int:
        if room not in height:
            height[room] = 1 + max((height_of(other) for other in uses[room]), default=0)
        return height[room]

    highest = max(map(height_of, rooms))
    return [[room for room in rooms if height[room] == level] for level in range(highest, 0, -1)]


def rust_purpose_of(top: str, room: str) -> str:
    """The first sentence of a module's documentation."""
    text = rust_modules.modules()[top, room].read_text()
    lines = [line[3:].strip() for line in text.splitlines() if line.startswith("//!")]
    first = lines[: lines.index("")] if "" in lines else lines
    sentence = re.split(r"\.(?: |$)", " ".join(first).replace("`", ""))[0]
    return sentence if len(sentence) <= CHARACTERS else sentence[: CHARACTERS - 1] + "…"


def wrapped(words: list[str], limit: int) -> list[str]:
    """Words in lines of at most so many characters."""
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) + 3 > limit:
            lines.append("")
        lines[-1] += (" · " if lines[-1] else "") + word
    return [line for line in lines if line]


def picture() -> str:
    """The drawing, as SVG."""
    parts: list[str] = []
    y = 34

    def text(x: float, y: float, what: str, kind: str) -> None:
        parts.append(f'<text x="{x:g}" y="{y:g}" class="{kind}">{escape(what)}</text>')

    def title(what: str) -> None:
        nonlocal y
        text(10, y, what, "title")
        y += 12

    def floor(names: list[str], lines: list[tuple[str, str]], colour: str) -> None:
        nonlocal y
        height = LINE * max(1, len(lines)) + PAD
        parts.append(
            f'<rect x="10" y="{y}" width="{WIDTH - 20}" height="{height}" class="{colour}"/>'
        )
        for number, name in enumerate(names):
            text(20, y + LINE - 2 + number * LINE, name, "name")
        for number, (what, kind) in enumerate(lines):
            text(NAMES + 20, y + LINE - 2 + number * LINE, what, kind)
        y += height + 4

    title("python/fleche: each floor imports what stands below it")
    for name, rooms in floors_of_python():
        lines = [(purpose_of(part), "why") for part in name.split(", ") if part != "__main__"]
        lines += [(line, "rooms") for line in wrapped(rooms, CHARACTERS)]
        floor([name], lines, "python")
    for top, what in (
        ("py", "src/py: Rust that knows Python objects; each module uses those below it"),
        ("engine", "src/engine: Rust that knows bytes, files and databases, and no Python"),
    ):
        y += 26
        title(what)
        for rooms in floors_of_rust(top):
            floor(rooms, [(rust_purpose_of(top, room), "why") for room in rooms], top)
    style = (
        "text{font:13px sans-serif;fill:#222}.title{font-weight:bold;font-size:15px}"
        ".name{font-weight:bold}.why{fill:#333}.rooms{font:12px monospace;fill:#555}"
        "rect{stroke:#999;rx:4}.python{fill:#e8f0fb}.py{fill:#fbeee0}.engine{fill:#f6e0d8}"
        "svg{background:#fff}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 10}">'
        f"<style>{style}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


if __name__ == "__main__":
    PICTURE.write_text(picture())
