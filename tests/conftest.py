"""Servers of the tests' own: private, on loopback, gone when the tests end."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import settings

from fleche.statistics import flushing
from tests.s3_servers import S3Server, running_seaweedfs
from tests.ssh_server import SshServer, running

# Statistics are written when a test says so: stores come and go here.
flushing.INTERVAL = 3600.0

PASSWORD = "s3cret-of-the-tests"
START_SECONDS = 120

# Whoever is started in the background ignores Ctrl-C, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# `nox -s tests` takes hypothesis's own profile "ci", whose cases are the same in every run.
settings.register_profile("explore", max_examples=1000, deadline=None)


class Process:
    """The process of a server, which may be killed and started again."""

    def __init__(self, port: int, command: list[str], folder: Path, user: str, ready: str) -> None:
        self.port = port
        self._what = (command, folder, user, ready)
        self.start()

    def start(self) -> None:
        self._server, self.listening, self.lines = _start(*self._what)

    @property
    def id(self) -> int:
        return self._server.pid

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to it and to all that it started, and wait for its end."""
        os.killpg(self._server.pid, number)
        self._server.wait(START_SECONDS)


class DatabaseServer:
    """A running server; `new_database` gives the URL of an empty database in it."""

    def __init__(self, scheme: str, process: Process, create: Callable[[str], None]) -> None:
        self.scheme, self.process, self._create, self._numbers = scheme, process, create, count()
        self.port = process.port

    def new_database(self) -> str:
        name = f"calls{next(self._numbers)}"
        self._create(name)
        return f"{self.scheme}://fleche:{PASSWORD}@127.0.0.1:{self.port}/{name}"


def _missing(what: str) -> NoReturn:
    """Fails the test, as what it needs of the system is not there; see `tests/run`."""
    if os.environ.get("FLECHE_TESTS_SKIP_MISSING"):
        pytest.skip(what)
    pytest.fail(f"{what}, which `bash tests/run` does", pytrace=False)


def _binary(name: str, package: str, *folders: str) -> str:
    found = shutil.which(name, path=os.pathsep.join([*folders, os.environ["PATH"]]))
    if found is None:
        _missing(f"{name} is not installed: apt-get install {package}")
    return found


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[S3Server]:
    """A SeaweedFS server that nobody kills."""
    with running_seaweedfs() as server:
        yield server


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser that looks at pages."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if (found := shutil.which(name)) is not None:
            return found
    _missing("chromium is not installed: apt-get install --no-install-recommends chromium")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _as_user(name: str) -> dict[str, object]:
    """What has a process run as the server's own user: as root they refuse to start."""
    if os.getuid() != 0:
        return {}
    user = pwd.getpwnam(name)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@contextmanager
def _folder_of(user: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fleche-server-") as name:
        if os.getuid() == 0:
            shutil.chown(name, user)
        yield Path(name)


def _prepare(command: list[str], folder: Path, user: str) -> None:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, **_as_user(user)
    )
    if done.returncode:
        pytest.fail(f"{command[0]} failed:\n{done.stdout}{done.stderr}", pytrace=False)


def _start(
    command: list[str], folder: Path, user: str, ready: str
) -> tuple[subprocess.Popen[str], bool, list[str]]:
    """Starts a server and waits until it says `ready`, or ends; gives what it said, too."""
    lines: list[str] = []
    heard, listening = threading.Event(), []
    server = subprocess.Popen(
        command,
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **_as_user(user),
    )

    def listen() -> None:
        assert server.stderr is not None
        with server.stderr:
            for line in server.stderr:
                lines.append(line)
                if ready in line:
                    listening.append(line)
                    heard.set()
        heard.set()

    threading.Thread(target=listen, daemon=True).start()
    heard.wait(START_SECONDS)
    return server, bool(listening), lines


@contextmanager
def _running(
    command: Callable[[int], list[str]], folder: Path, user: str, ready: str, end: signal.Signals
) -> Iterator[Process]:
    """Runs a server. Another process may take a free port first: a few attempts."""
    said: list[str] = []
    for _ in range(5):
        port = _free_port()
        process = Process(port, command(port), folder, user, ready)
        try:
            if process.listening:
                yield process
                return
            said += [*command(port), "\n", *process.lines]
        finally:
            # Nothing is to be kept; asked to end, servers wait for their clients or tidy up.
            with contextlib.suppress(ProcessLookupError):
                process.kill(end)
    pytest.fail(f"a database server did not start:\n{''.join(said)}", pytrace=False)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[DatabaseServer]:
    """A PostgreSQL server."""
    with running_postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[DatabaseServer]:
    """A MariaDB server."""
    with running_mariadb() as server:
        yield server


@contextmanager
def running_postgresql() -> Iterator[DatabaseServer]:
    """A PostgreSQL server, which keeps what it committed when it is killed."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    folders = [str(folder) for folder in installed]
    initdb = _binary("initdb", "postgresql", *folders)
    postgres = _binary("postgres", "postgresql", *folders)
    import psycopg

    with _folder_of("postgres") as folder:
        password = folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        account = ["--username=fleche", f"--pwfile={password}", "--auth=scram-sha-256"]
        locale = ["--encoding=UTF8", "--locale=C.UTF-8"]
        _prepare([initdb, "-D", f"{folder}/data", *account, *locale], folder, "postgres")
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
            "fsync": "off",
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]

        def command(port: int) -> list[str]:
            return [postgres, "-D", f"{folder}/data", "-p", str(port), *options]

        ready = "ready to accept connections"
        with _running(command, folder, "postgres", ready, signal.SIGQUIT) as process:
            account = f"user=fleche password={PASSWORD} dbname=postgres"
            login = f"host=127.0.0.1 port={process.port} {account}"

            def create(name: str) -> None:
                with psycopg.connect(login, autocommit=True) as connection:
                    connection.execute(f"CREATE DATABASE {name}")

            yield DatabaseServer("postgresql", process, create)


@contextmanager
def running_mariadb(*more: str) -> Iterator[DatabaseServer]:
    """A MariaDB server, with more options."""
    mariadbd = _binary("mariadbd", "mariadb-server", "/usr/sbin")
    install = _binary("mariadb-install-db", "mariadb-server")
    import pymysql

    with _folder_of("mysql") as folder:
        shared = ["--no-defaults", f"--datadir={folder}/data"]
        root = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        _prepare([install, *shared, *root], folder, "mysql")
        place = ["--bind-address=127.0.0.1", f"--socket={folder}/socket"]
        place += [f"--pid-file={folder}/pid", f"--tmpdir={folder}"]
        # Several may run at once: little memory, and none of the system's scarce resources.
        options = ["--max-connections=200", "--innodb-flush-log-at-trx-commit=0"]
        options += ["--innodb-use-native-aio=0", "--innodb-buffer-pool-size=64M"]

        def command(port: int) -> list[str]:
            return [mariadbd, *shared, *place, *options, f"--port={port}", *more]

        def run(*statements: str) -> None:
            connection = pymysql.connect(unix_socket=f"{folder}/socket", user="root")
            with connection, connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)

        ready = "ready for connections"
        with _running(command, folder, "mysql", ready, signal.SIGKILL) as process:
            run(
                f"CREATE USER fleche@'%' IDENTIFIED BY '{PASSWORD}'",
                f"CREATE USER fleche@localhost IDENTIFIED BY '{PASSWORD}'",
                "GRANT ALL ON *.* TO fleche@'%'",
                "GRANT ALL ON *.* TO fleche@localhost",
            )
            yield DatabaseServer("mariadb", process, lambda name: run(f"CREATE DATABASE {name}"))


@pytest.fixture(scope="session")
def sshd() -> Iterator[SshServer]:
    """A server that lets the user who runs the tests in."""
    with tempfile.TemporaryDirectory(prefix="fleche-sshd-") as folder:
        try:
            with running(Path(folder)) as server:
                yield server
        except FileNotFoundError as error:
            _missing(str(error))
        except RuntimeError as error:
            pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def one_login(sshd: SshServer) -> Iterator[tuple[str, ...]]:
    """Options with which many connections, one after the other, take the time of one login."""
    path = f"ControlPath={sshd.folder}/one_login"
    shared = ("-o", "ControlMaster=auto", "-o", path, "-o", "ControlPersist=10m")
    yield (*sshd.options, *shared)
    end = ("ssh", "-F", "none", "-o", path, "-O", "exit", sshd.host)
    subprocess.run(end, capture_output=True, check=False)
