"""What is in a wheel, and for which systems it says to be.

python tests/install/check_wheel.py fleche-0.23.0-cp314-cp314t-linux.whl 3.14t
"""

from __future__ import annotations

import re
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Everybody's C library has the functions of this one.
OLDEST_GLIBC = (2, 17)


def check(wheel: Path, version: str) -> None:
    name, own_version, python, abi, platform = wheel.stem.split("-")
    number = "cp" + version.rstrip("t").replace(".", "")
    assert (name, python) == ("fleche", number), wheel.name
    assert abi == number + ("t" if version.endswith("t") else ""), wheel.name
    assert "manylinux_2_17_" in platform, wheel.name
    with zipfile.ZipFile(wheel) as archive:
        files = set(archive.namelist())
        info = f"fleche-{own_version}.dist-info"
        ours = {
            f"fleche/{path.relative_to(ROOT / 'python' / 'fleche').as_posix()}"
            for path in (ROOT / "python" / "fleche").rglob("*")
            if path.suffix in (".py", ".pyi", ".typed")
        }
        assert ours <= files, ours - files
        [core] = [file for file in files - ours if not file.startswith(info)]
        assert re.fullmatch(r"fleche/_core\.cpython-\w+-[\w-]+\.so", core), core
        entry_points = archive.read(f"{info}/entry_points.txt").decode()
        assert "fleche=fleche.cli:main" in entry_points.replace(" ", ""), entry_points
        licenses = {Path(file).name for file in files if "/licenses/" in file}
        assert licenses == {"LICENSE-MIT", "LICENSE-APACHE"}, licenses
        wanted = re.findall(rb"GLIBC_(\d+)\.(\d+)", archive.read(core))
        newest = max(tuple(map(int, found)) for found in wanted)
        assert newest <= OLDEST_GLIBC, newest
    size = wheel.stat().st_size / 1e6
    print(f"{wheel.name}: {size:.1f} MB, GLIBC_{newest[0]}.{newest[1]}, {len(files)} files")


if __name__ == "__main__":
    check(Path(sys.argv[1]), sys.argv[2])
