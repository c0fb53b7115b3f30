"""One connection to a server: started when first needed, shared by all threads, never restarted
behind the user's back."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import weakref
from dataclasses import dataclass
from typing import Any

from fleche import _core
from fleche.remote.frames import (
    PROTOCOL,
    Frame,
    FrameError,
    FrameTooLarge,
    Packed,
    Reader,
    Writer,
    pack,
)
from fleche.remote.process import SshProcess, Target, describe_end

logger = logging.getLogger("fleche.remote")

# How long a call that another thread makes may take to end by itself, in seconds.
_PATIENCE = 2.0

_CONNECTIONS: weakref.WeakSet[Connection] = weakref.WeakSet()


class RemoteConnectionError(RuntimeError):
    """The connection to the server could not be made, or was lost; the message says what is known.

    It stays so until `SshCache.reconnect` is called.
    """

    __module__ = "fleche.remote"


@dataclass(frozen=True)
class Server:
    """What a server said of itself when the connection was made."""

    info: dict[str, Any]

    @property
    def extended(self) -> bool:
        """Whether it knows more than the reference does: long frames, and more methods."""
        return int(self.info.get("protocol", 0)) >= 1

    @property
    def scheme(self) -> str:
        """The digest scheme of its keys."""
        return str(self.info.get("digest", "sha256"))

    @property
    def read_only(self) -> bool:
        return bool(self.info.get("read_only", False))


class Connection:
    """The connection to a server.

    Args:
        target: what to run, and where.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._process: SshProcess | None = None
        self._server: Server | None = None
        # Why there is no connection any more; nothing is started while that stands.
        self._failure: str | None = None
        # The numbers of queries that are not going to be asked for more.
        self.given_up: list[int] = []
        _CONNECTIONS.add(self)

    def server(self) -> Server:
        """The server, after its digest scheme was found to be the one here.

        Raises:
            RemoteConnectionError: if there is no connection to it, or it has another scheme.
        """
        server = self.known_server()
        if server.scheme != _core.scheme():
            raise RemoteConnectionError(_other_scheme(self._target.host, server))
        return server

    def known_server(self) -> Server:
        """The server, whatever it is."""
        server = self._server
        if server is None or self._failure is not None:
            with self._lock:
                server = self._opened()
        return server

    def exchange(self, method: str, packed: Packed) -> Frame:
        """Send a request and wait for its reply.

        Args:
            method: what is asked for, for messages.
            packed: the request.

        Raises:
            FrameTooLarge: if the server cannot take so large a request.
            RemoteConnectionError: if there is no connection, or it is lost.
        """
        with self._lock:
            extended = self._opened().extended
            assert self._process is not None
            try:
                self._writer.write(packed, long_frames=extended)
                return self._reader.frame(long_frames=extended)
            except (OSError, EOFError) as error:
                what = f"Remote cache connection lost during {method!r}"
                raise self._lost(what, error) from error
            except (FrameTooLarge, FrameError):
                # Nothing was sent, or a whole reply came: the next call finds things in order.
                raise
            except BaseException:
                # The reply will come, and would be taken for that of the next call.
                self._drop(f"Remote cache connection given up: {method!r} was interrupted")
                raise

    def take_given_up(self) -> list[int]:
        """The numbers of the queries that were given up since this was asked last."""
        given_up, self.given_up = self.given_up, []
        return given_up

    def break_off(self, reason: str) -> RemoteConnectionError:
        """Give the connection up, as what came through it makes no sense."""
        with self._lock:
            return self._drop(f"Remote cache connection given up: {reason}")

    def close(self) -> None:
        """End the server; the next operation starts one."""
        process = self._process
        if not self._lock.acquire(timeout=_PATIENCE):
            # Another thread waits for a reply: it learns of the end.
            if process is not None:
                process.kill()
            self._lock.acquire()
        try:
            process, self._process, self._server = self._process, None, None
            self._failure = None
            if process is not None:
                process.close()
        finally:
            self._lock.release()

    def leave_to_parent(self) -> None:
        """In a forked child: the pipes are the parent's, the child opens its own."""
        self._lock = threading.Lock()
        process, self._process, self._server = self._process, None, None
        if process is not None:
            process.forget()

    def __del__(self) -> None:
        process = self.__dict__.get("_process")
        if process is not None:
            process.close()

    def _opened(self) -> Server:
        if self._failure is not None:
            raise RemoteConnectionError(self._failure)
        if self._server is None or self._process is None:
            self._server = self._open()
            _warn_of_differences(self._server, self._target.host)
        return self._server

    def _open(self) -> Server:
        require_cloudpickle()
        try:
            self._process = process = SshProcess(self._target)
        except OSError as error:
            self._failure = (
                f"Cannot run ssh: {error}\nInstall an OpenSSH client; it is looked for on PATH.\n"
                + _how_to_go_on()
            )
            raise RemoteConnectionError(self._failure) from error
        self._reader, self._writer = Reader(process.replies), Writer(process.requests)
        told = {"protocol": PROTOCOL, "digest": _core.scheme()}
        what = f"Remote cache connection to {self._target.host} failed"
        try:
            self._writer.write(pack(("info", (), told), plain=True), long_frames=False)
            noise, frame = self._reader.first_frame()
        except (OSError, EOFError) as error:
            raise self._lost(what, _without_noise(error)) from error
        except BaseException:
            self._drop("Remote cache connection given up: its start was interrupted")
            raise
        if noise:
            logger.warning(
                "Something on %s writes to standard output before the server starts (a setup "
                "command, or the shell's start-up files); skipped: %r",
                self._target.host,
                noise[-200:],
            )
        try:
            status, info = frame.message()
            if status == "err":
                raise info
            return Server(dict(info))
        except Exception as error:
            raise self._drop(f"{what}: {type(error).__name__}: {error}") from error

    def _lost(self, what: str, error: BaseException) -> RemoteConnectionError:
        """Records that the connection is lost, and everything that is known of why."""
        reason = str(error)
        process = self._process
        assert process is not None
        code = process.exit_code(_PATIENCE)
        starting = self._server is None
        lines = describe_end(code, process.last_lines(), self._target, starting=starting)
        return self._drop(f"{what}: {reason}", *lines)

    def _drop(self, *lines: str) -> RemoteConnectionError:
        process, self._process, self._server = self._process, None, None
        if process is not None:
            process.kill()
        self._failure = "\n".join([*lines, _how_to_go_on()])
        logger.info("%s", self._failure)
        return RemoteConnectionError(self._failure)


def require_cloudpickle() -> None:
    """Raises an `ImportError` that says what to install, if `cloudpickle` is not."""
    try:
        import cloudpickle  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "a cache over SSH needs the package cloudpickle, on both ends; "
            "install it by: pip install 'fleche[ssh]'"
        ) from error


def _how_to_go_on() -> str:
    return "Call SshCache.reconnect() to start a new connection."


def _without_noise(error: BaseException) -> BaseException:
    if isinstance(error, EOFError) and error.args and isinstance(error.args[0], bytes):
        noise: bytes = error.args[0]
        if noise:
            return EOFError(f"the server did not start; what came was {noise[-200:]!r}")
        return EOFError("connection closed before the server started")
    return error


def _other_scheme(host: str, server: Server) -> str:
    there, here = server.scheme, _core.scheme()
    return (
        f"The keys of the cache on {host} have the digest scheme {there!r}, those here {here!r}: "
        f"nothing would ever be found. Set the same scheme on both machines: here by "
        f"FLECHE_DIGEST={there}, or digest = {there!r} in the section [default] of fleche.toml."
    )


def _warn_of_differences(server: Server, host: str) -> None:
    here = {"fleche_version": _core.VERSION, "cloudpickle_version": cloudpickle_version()}
    if "python_version" in server.info:
        here["python_version"] = python_version()
    for name, ours in here.items():
        theirs = server.info.get(name)
        if theirs != ours:
            logger.warning(
                "%s has %s %s, and this process %s: functions and classes that travel by value may "
                "not arrive",
                host,
                name.removesuffix("_version"),
                theirs,
                ours,
            )


def cloudpickle_version() -> str:
    """The version of the package, without `importlib.metadata`, which takes as long as the rest."""
    import cloudpickle

    return str(cloudpickle.__version__)


def python_version() -> str:
    """The part of Python's version that the format of functions depends on."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


@atexit.register
def _close_all() -> None:
    for connection in list(_CONNECTIONS):
        connection.close()


def _leave_all_to_parent() -> None:
    for connection in list(_CONNECTIONS):
        connection.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all_to_parent)
