"""An SSH server of the tests' own: on loopback, with a port and keys of its own."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 60

CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
UsePAM {pam}
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PrintMotd no
MaxStartups 100
MaxSessions 100
LogLevel VERBOSE
"""
# Newer servers stop talking to who gave a wrong key; older ones do not know the setting.
UNPUNISHED = "PerSourcePenalties no\n"


@dataclass(frozen=True)
class SshServer:
    """A running server, which lets its own user in."""

    port: int
    folder: Path
    user: str

    @property
    def host(self) -> str:
        return f"{self.user}@127.0.0.1"

    @property
    def options(self) -> tuple[str, ...]:
        """What `ssh` needs to get in, and nothing of the user's own configuration."""
        return self.options_with(key=self.folder / "user_key")

    def options_with(self, key: Path) -> tuple[str, ...]:
        settings = (
            f"UserKnownHostsFile={self.folder}/known_hosts",
            *("StrictHostKeyChecking=yes", "IdentitiesOnly=yes", "IdentityAgent=none"),
            *("BatchMode=yes", "LogLevel=ERROR"),
        )
        options = [part for setting in settings for part in ("-o", setting)]
        return ("-F", "none", "-i", str(key), "-p", str(self.port), *options)

    def new_key(self, name: str) -> Path:
        """A key that the server does not know."""
        return make_key(self.folder / name)


def binary(name: str) -> str:
    """The path of a program of Debian's `openssh-server`, or of the client.

    Raises:
        FileNotFoundError: if it is not installed.
    """
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed: apt-get install openssh-server")
    return found


def make_key(path: Path) -> Path:
    """A new key pair, without a passphrase."""
    command = [binary("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(command, check=True)
    return path


@contextlib.contextmanager
def running(folder: Path) -> Iterator[SshServer]:
    """Run a server, whose keys and settings are in `folder`.

    Raises:
        FileNotFoundError: if `openssh-server` is not installed.
        RuntimeError: if it does not start.
    """
    sshd = binary("sshd")
    if os.getuid() == 0:
        # Where the part of the server that talks to strangers is locked in.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    make_key(folder / "user_key")
    host_key = make_key(folder / "host_key").with_suffix(".pub").read_text()
    said: list[str] = []
    # Another process may take a free port first: a few attempts.
    for _ in range(5):
        port = _free_port()
        config = folder / "sshd_config"
        settings = CONFIG.format(port=port, folder=folder, pam="yes" if _is_locked() else "no")
        config.write_text(settings + UNPUNISHED)
        if subprocess.run([sshd, "-t", "-f", config], capture_output=True, check=False).returncode:
            config.write_text(settings)
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
        server = subprocess.Popen([sshd, "-D", "-e", "-f", config], stderr=subprocess.PIPE)
        listener = _Listener(server)
        try:
            if listener.listening():
                user = pwd.getpwuid(os.getuid()).pw_name
                yield SshServer(port, folder, user)
                return
            said += listener.lines
        finally:
            server.terminate()
            server.wait(START_SECONDS)
            listener.join(START_SECONDS)
    raise RuntimeError("sshd did not start:\n" + "".join(said))


class _Listener(threading.Thread):
    """Reads what a server says."""

    def __init__(self, server: subprocess.Popen[bytes]) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._said_enough = threading.Event()
        self.lines: list[str] = []
        self.start()

    def run(self) -> None:
        assert self._server.stderr is not None
        with self._server.stderr as stream:
            for line in stream:
                self.lines.append(line.decode(errors="replace"))
                if b"Server listening" in line:
                    self._said_enough.set()
        self._said_enough.set()

    def listening(self) -> bool:
        self._said_enough.wait(START_SECONDS)
        return any("Server listening" in line for line in self.lines)


def _is_locked() -> bool:
    """Whether the account has no password that could be given: then only PAM lets it in."""
    user = pwd.getpwuid(os.getuid()).pw_name
    try:
        lines = Path("/etc/shadow").read_text().splitlines()
    except OSError:
        # Not to be read by `sshd` either, which runs as the same user.
        return False
    return any(line.startswith(f"{user}:!") for line in lines)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
