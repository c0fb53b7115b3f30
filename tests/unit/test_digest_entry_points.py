"""Hooks that installed packages provide: each test installs some and runs a fresh process."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

MODULE = """
from fleche.digest import Hook, digest

class Opaque:
    def __reduce__(self): raise TypeError("no content")

class One(Opaque): pass
class Two(Opaque): pass
class Three(Opaque): pass
class Plain: pass

hook = Hook(One, lambda value: "11" * 32)
pair = (Two, lambda value: "22" * 32)
plain = (Plain, lambda value: "66" * 32)
several = [Hook(Three, lambda value: "33" * 32), (Two, lambda value: digest("two"))]
other = (One, lambda value: "44" * 32)
broken = 7
half = [(Three, lambda value: "55" * 32), 7]
"""

PRELUDE = """
import logging, sys
class Short(logging.Formatter):
    def formatException(self, info):
        return info[0].__name__
handler = logging.StreamHandler(sys.stdout)
handler.setFormatter(Short("%(levelname)s %(name)s %(message)s"))
logging.getLogger("fleche").addHandler(handler)
logging.getLogger("fleche").setLevel(logging.INFO)
from fleche.digest import *
from fleche.digest import Hook
def tell(value):
    try:
        print(digest(value)[:4])
    except Indigestible:
        print("indigestible")
"""

Install = Callable[..., None]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path / "site"


@pytest.fixture
def install(tmp_path: Path, site: Path) -> Install:
    """Installs a package of this name that has these entry points."""

    def build(name: str, *entry_points: str, module: str = "") -> None:
        wheel = tmp_path / f"{name}-1.0-py3-none-any.whl"
        info = f"{name}-1.0.dist-info"
        lines = "\n".join(["[fleche]", *entry_points])
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"{name}.py", module)
            archive.writestr(
                f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
            )
            archive.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr(f"{info}/entry_points.txt", f"{lines}\n")
            archive.writestr(f"{info}/RECORD", "")
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, "--no-deps", "--target", site, wheel], check=True)

    return build


@pytest.fixture
def run(site: Path) -> Callable[[str], list[str]]:
    def run(code: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", PRELUDE + code],
            env={"PYTHONPATH": str(site), "PATH": "", "HOME": str(site)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


Run = Callable[[str], list[str]]


@pytest.mark.parametrize(
    ("entry_point", "expected"),
    [
        ("digest = shop:hook", ["1111", "indigestible", "indigestible"]),
        ("digest = shop:pair", ["indigestible", "2222", "indigestible"]),
        ("other = shop:hook", ["indigestible", "indigestible", "indigestible"]),
    ],
)
def test_a_hook_or_a_tuple(
    install: Install, run: Run, entry_point: str, expected: list[str]
) -> None:
    install("shop", entry_point, module=MODULE)
    assert run("import shop\nfor c in (shop.One, shop.Two, shop.Three): tell(c())") == expected


def test_a_list_of_both_and_inside_of_containers(install: Install, run: Run) -> None:
    install("shop", "digest = shop:several", module=MODULE)
    code = "import shop\ntell(shop.Three()); tell([shop.Two()]); print(digest([digest('two')])[:4])"
    first, second, third = run(code)
    assert first == "3333"
    assert second == third


def test_entry_points_load_when_a_value_is_about_to_be_refused(install: Install, run: Run) -> None:
    install("shop", "digest = shop:hook", module=MODULE)
    code = """
digest([1, "x"])
print("shop" in sys.modules, get_hooks())
tell(object())
print("shop" in sys.modules, len(get_hooks()))
"""
    assert run(code) == ["False []", "indigestible", "True 1"]


def test_a_manual_hook_shadows_an_entry_point(install: Install, run: Run) -> None:
    install("shop", "digest = shop:hook", module=MODULE)
    code = """
import shop
add_hook((shop.One, lambda value: "99" * 32))
load_entry_points()
tell(shop.One())
print(len(get_hooks()))
"""
    log, digest, count = run(code)
    assert (
        log == "INFO fleche.digest add_hook for <class 'shop.One'> overrides entry point shop:hook"
    )
    assert (digest, count) == ("9999", "1")


def test_of_two_entry_points_for_one_class_the_first_wins(install: Install, run: Run) -> None:
    install("shop", "digest = shop:hook", module=MODULE)
    install("stall", "digest = shop:other")
    log, digest, count = run(
        "import shop\nload_entry_points()\ntell(shop.One())\nprint(len(get_hooks()))"
    )
    assert log in {
        "INFO fleche.digest shop:hook already provides a digest for <class 'shop.One'>; "
        "ignoring entry point shop:other",
        "INFO fleche.digest shop:other already provides a digest for <class 'shop.One'>; "
        "ignoring entry point shop:hook",
    }
    assert digest == ("1111" if "ignoring entry point shop:other" in log else "4444")
    assert count == "1"


@pytest.mark.parametrize("target", ["shop:broken", "shop:missing", "nowhere:hook"])
def test_one_that_fails_to_load_is_logged_and_skipped(
    install: Install, run: Run, target: str
) -> None:
    install("shop", "digest = shop:pair", module=MODULE)
    install("stall", f"digest = {target}")
    code = "import shop\ntell(shop.Two()); tell(shop.One()); tell(shop.One())"
    lines = run(code)
    # Once, and the type of the error below it.
    errors = [line for line in lines if line.startswith("ERROR")]
    assert len(errors) == 1
    assert errors[0].startswith(f"ERROR fleche.digest Failed to load entry point {target}: ")
    assert [line for line in lines if line in ("2222", "indigestible")] == [
        "2222",
        "indigestible",
        "indigestible",
    ]


def test_one_goes_before_the_reduction_of_an_object(install: Install, run: Run) -> None:
    install("shop", "digest = shop:plain", module=MODULE)
    assert run("import shop\ntell([shop.Plain()]); tell(shop.Plain())")[1] == "6666"
    within = "import shop\nprint(digest([shop.Plain()]) == digest([D('66' * 32)]))"
    assert run(within) == ["True"]


def test_what_loads_of_a_list_counts(install: Install, run: Run) -> None:
    install("shop", "digest = shop:half", module=MODULE)
    lines = run("import shop\ntell(shop.Three())")
    assert lines[-1] == "5555"
    assert lines[0].startswith("ERROR fleche.digest Failed to load entry point shop:half: ")


def test_a_package_installed_meanwhile_is_found(install: Install, run: Run, site: Path) -> None:
    install("shop", "digest = shop:pair", module=MODULE)
    info = site / "late-1.0.dist-info"
    code = f"""
import pathlib, shop
tell(shop.One())
info = pathlib.Path({str(info)!r})
info.mkdir()
(info / "METADATA").write_text("Metadata-Version: 2.1\\nName: late\\nVersion: 1.0\\n")
(info / "entry_points.txt").write_text("[fleche]\\ndigest = shop:hook\\n")
tell(shop.One())
"""
    assert run(code) == ["indigestible", "1111"]
