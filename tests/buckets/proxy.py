"""A proxy before a server, which answers in its place, resets, waits, or counts requests."""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: What becomes of a request: `None`: it is passed on; a number: how many seconds to wait for
#: nothing; "reset"; or a status and the code and message of an error.
Fault = None | float | str | tuple[int, str, str]


class Proxy:
    """Stands before a server.

    Args:
        port: the server's.
    """

    def __init__(self, port: int) -> None:
        #: Decides of each request, by its method and path.
        self.fault: Callable[[str, str], Fault] = lambda method, path: None
        self.requests: list[tuple[str, str]] = []
        #: The headers that are not passed on.
        self.drops: tuple[str, ...] = ()
        self.released = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass(self) -> None:
                outer.requests.append((self.command, self.path.partition("?")[0]))
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                fault = outer.fault(self.command, self.path)
                if fault is not None:
                    self._fail(fault)
                    return
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                with contextlib.closing(connection) as server:
                    # It is signed for whom the client speaks to: the proxy.
                    server.putrequest(self.command, self.path, True, True)
                    for name, value in self.headers.items():
                        if name.lower() not in outer.drops:
                            server.putheader(name, value)
                    server.endheaders(body)
                    answer = server.getresponse()
                    data = answer.read()
                    self.send_response(answer.status)
                    for name, value in answer.getheaders():
                        if name.lower() not in (
                            "transfer-encoding",
                            "connection",
                            "date",
                            "server",
                        ):
                            self.send_header(name, value)
                    if answer.getheader("Content-Length") is None:
                        self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass  # noqa: N815

            def _fail(self, fault: float | str | tuple[int, str, str]) -> None:
                if isinstance(fault, tuple):
                    status, code, message = fault
                    text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
                    data = b"" if self.command == "HEAD" else text.encode()
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                    return
                if isinstance(fault, str):
                    linger = struct.pack("ii", 1, 0)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                else:
                    outer.released.wait(fault)
                self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def proxy_before(port: int) -> Iterator[Proxy]:
    """A proxy before the server at a port."""
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
