"""The `ssh` process that a server on another machine is reached through."""

from __future__ import annotations

import contextlib
import logging
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, cast

logger = logging.getLogger("fleche.remote")

# How long the end of a process is waited for, in seconds: asked to, and made to.
_PATIENCE = 5.0
# And for what it still says, after it ended or was killed: an interrupt waits for the latter.
_LISTENER, _LISTENER_OF_KILLED = 1.0, 0.05
_KEPT_LINES = 20
_PIPE_BYTES = 1 << 20
# Where signals cannot be blocked: it gets none that is for the process that starts it.
_OWN_GROUP: int = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)


@dataclass(frozen=True)
class Target:
    """What is run, and where; the fields of `SshCache`."""

    host: str
    cache_name: str | None = None
    python: str = "python3"
    ssh_options: tuple[str, ...] = ()
    setup_commands: tuple[str, ...] = ()
    workdir: str | None = None

    def command(self) -> list[str]:
        """The command line of `ssh`.

        >>> Target("user@host", cache_name="shared").command()
        ['ssh', 'user@host', 'python3', '-m', 'fleche', 'remote', '--serve', '--cache', 'shared']
        >>> Target("host", setup_commands=("module load python",), workdir="~/a b").command()[-1]
        "cd ~/'a b' && module load python && exec python3 -m fleche remote --serve"
        """
        ssh = ["ssh", *self.ssh_options, self.host]
        server = ["-m", "fleche", "remote", "--serve"]
        if self.cache_name is not None:
            server += ["--cache", shlex.quote(self.cache_name)]
        if self.workdir is None and not self.setup_commands:
            # Words of the remote shell's command line; of the interpreter there may be several.
            return [*ssh, self.python, *server]
        steps = [] if self.workdir is None else [f"cd {_quoted_path(self.workdir)}"]
        steps += self.setup_commands
        steps.append(" ".join(["exec", _quoted_path(self.python), *server]))
        return [*ssh, " && ".join(steps)]


def _quoted_path(path: str) -> str:
    """A path for a shell, which still finds the home folder that it begins with."""
    home = re.match(r"~[\w.-]*(/|$)", path)
    if home is None:
        return shlex.quote(path)
    rest = path[home.end() :]
    return home[0] + (shlex.quote(rest) if rest else "")


def log_name(host: str) -> str:
    """The name of the logger that a host's standard error goes to.

    >>> log_name("user@big.example.com")
    'fleche.remote.host.user_at_big_example_com'
    """
    return f"fleche.remote.host.{host.replace('@', '_at_').replace('.', '_')}"


class SshProcess:
    """A running `ssh`, with the pipes to the server behind it.

    Args:
        target: what to run, and where.

    Raises:
        OSError: if there is no `ssh` to run.
    """

    def __init__(self, target: Target) -> None:
        command = target.command()
        logger.info("spawning remote cache via: %s", shlex.join(command))
        with _interrupts_blocked():
            # What a user interrupts is a call, and not the connection that all calls share.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                creationflags=_OWN_GROUP,
            )
        self.requests = cast("IO[bytes]", self._process.stdin)
        self.replies = cast("IO[bytes]", self._process.stdout)
        _enlarge(self.requests, self.replies)
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._listener = threading.Thread(
            target=_listen,
            args=(cast("IO[bytes]", self._process.stderr), target.host, self._lines),
            name=f"fleche: stderr of {target.host}",
            daemon=True,
        )
        self._listener.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self, seconds: float = _PATIENCE) -> int | None:
        """How `ssh` ended; `None` if it still runs after so many seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.returncode

    def last_lines(self) -> list[str]:
        """What came last on the remote's standard error, all of it if the process has ended."""
        if self._process.returncode is not None:
            # A master that `ControlMaster` left behind may hold the pipe open.
            self._listener.join(_LISTENER)
        return list(self._lines)

    def close(self) -> None:
        """End the server, and `ssh` with it."""
        self._end(_LISTENER)

    def _end(self, seconds: float) -> None:
        for pipe in (self.requests, self.replies):
            with contextlib.suppress(OSError):
                pipe.close()
        if self.exit_code() is None:
            self._process.terminate()
            if self.exit_code() is None:
                self._process.kill()
                self.exit_code()
        self._listener.join(seconds)

    def kill(self) -> None:
        """End `ssh` at once; the server then ends by itself."""
        self._process.kill()
        # Where connections share a master, that one keeps the pipe until the server has ended.
        self._end(_LISTENER_OF_KILLED)

    def forget(self) -> None:
        """Leave the process to the parent, in a forked child."""
        # Else the server would not see the parent end before the child does.
        for pipe in (self.requests, self.replies, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.returncode = 0


def _listen(stream: IO[bytes], host: str, lines: deque[str]) -> None:
    """Log and keep what comes on the standard error of the remote."""
    log = logging.getLogger(log_name(host))
    with contextlib.suppress(OSError, ValueError), stream:
        for line in _lines_of(stream):
            text = line.decode(errors="replace").rstrip()
            lines.append(text)
            log.info("%s", text)


def _lines_of(stream: IO[bytes]) -> Iterator[bytes]:
    held = b""
    while more := stream.read(1 << 16):
        *whole, held = (held + more).split(b"\n")
        yield from whole
    if held:
        yield held


def _enlarge(*pipes: IO[bytes]) -> None:
    if sys.platform == "linux":  # Others take what they get.
        import fcntl

        for pipe in pipes:
            with contextlib.suppress(OSError):
                fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    if sys.platform == "win32":  # There it is a process group of its own, see `_OWN_GROUP`.
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def describe_end(
    code: int | None, lines: Sequence[str], target: Target, *, starting: bool
) -> list[str]:
    """What is known of how a remote ended, and what may help.

    Args:
        code: how `ssh` ended, if it has.
        lines: what came last on standard error.
        target: what was run.
        starting: whether the server had not answered yet.
    """
    said = []
    if code is not None:
        said.append(f"remote exit code: {code}")
    if lines:
        said.append(f"remote stderr (last {len(lines)} lines):")
        said += lines
    hint = _hint(code, "\n".join(lines), target) if starting else None
    return [*said, hint] if hint else said


def _hint(code: int | None, text: str, target: Target) -> str | None:
    if "No module named fleche" in text or "No module named 'fleche'" in text:
        return (
            f"The remote's {target.python} has no fleche: install 'fleche[ssh]' there, or name the "
            f"interpreter that has it by python=, or activate its environment in setup_commands."
        )
    if code == 127:
        return (
            f"The remote shell does not find a command: is there {target.python!r} (python=), and "
            f"are those in setup_commands right?"
        )
    if code == 255:
        return f"ssh itself failed: does `{shlex.join(_login(target))}` work in a terminal?"
    return None


def _login(target: Target) -> list[str]:
    return ["ssh", *target.ssh_options, target.host, "true"]
