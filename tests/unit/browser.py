"""A headless Chromium for tests, spoken to through pipes in the protocol of its DevTools."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import itertools
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Page:
    """A page in the browser.

    Args:
        commands: where commands are written to.
        answers: where answers and events are read from.
    """

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._numbers, self._read = itertools.count(1), b""
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **given: Any) -> Any:
        """What the browser answers to a command."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": given}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == number:
                assert "error" not in found, found["error"]
                return found["result"]
            self.events.append(found)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            some = os.read(self._answers, 1 << 16)
            assert some, "the browser ended"
            self._read += some
        text, _, self._read = self._read.partition(b"\0")
        found: dict[str, Any] = json.loads(text)
        return found

    def open(self, path: Path, scripts: bool = True) -> None:
        """Open a file, and wait until all of it is there."""
        self.send("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.events.clear()
        self.send("Page.navigate", url=path.as_uri())
        while not any(each.get("method") == "Page.loadEventFired" for each in self.events):
            self.events.append(self._next())

    def show(self, width: int = 1100, height: int = 900, **media: str) -> None:
        """Set the window's size, and media features, as `prefers_color_scheme="dark"`."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        kind = media.pop("media", "")
        features = [
            {"name": name.replace("_", "-"), "value": value} for name, value in media.items()
        ]
        self.send("Emulation.setEmulatedMedia", media=kind, features=features)

    def ask(self, expression: str) -> Any:
        """The value of an expression, as JSON has it."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key: `Tab`, `Enter`, or `ArrowRight`."""
        code = {"Tab": 9, "Enter": 13, "ArrowRight": 39}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown", **common, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    def picture(self, path: Path) -> None:
        """Write what is seen to a PNG, all of it."""
        found = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    @property
    def requests(self) -> list[str]:
        """What the page asked for since it was opened, itself among it."""
        sent = (e for e in self.events if e.get("method") == "Network.requestWillBeSent")
        return [each["params"]["request"]["url"] for each in sent]

    @property
    def complaints(self) -> list[Any]:
        """What the browser said of the page since it was opened: errors, refusals."""
        methods = "Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"
        return [each["params"] for each in self.events if each.get("method") in methods]


@contextlib.contextmanager
def opened(program: str, profile: Path) -> Iterator[Page]:
    """A page in a browser of its own, which ends with it."""
    words = [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    words += ["--no-first-run", "--disable-background-networking", "--remote-debugging-pipe"]
    words.append(f"--user-data-dir={profile}")
    (to_it, commands), (answers, from_it) = _pipe(), _pipe()
    log = os.open(profile.with_suffix(".log"), os.O_WRONLY | os.O_CREAT)
    # It reads commands from 3 and writes answers to 4.
    places = (to_it, 3), (from_it, 4), (log, 1), (log, 2)
    moved = [(os.POSIX_SPAWN_DUP2, *each) for each in places]
    process = os.posix_spawn(program, words, os.environ, file_actions=moved, setsid=True)
    for each in (to_it, from_it, log):
        os.close(each)
    try:
        yield Page(commands, answers)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(commands)
        os.close(answers)


def _pipe() -> tuple[int, int]:
    """The ends of a pipe, to read from and to write to, with no number that is needed."""
    ends = os.pipe()
    moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return moved[0], moved[1]
