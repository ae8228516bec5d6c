"""Headless Chromium for tests of HTML pages, controlled by the DevTools protocol over pipes."""

from __future__ import annotations

import base64
import json
import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
_TIMEOUT = 60  # seconds
# Chromium expects the pipes at the descriptors 3 and 4
_START = """
import os, sys
reads, writes = (os.dup(int(number)) for number in sys.argv[1:3])  # keep both away from 3 and 4
while min(reads, writes) < 5:
    reads, writes = os.dup(reads), os.dup(writes)
os.dup2(reads, 3)
os.dup2(writes, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Chromium:
    """One page in a separate browser; `events` are the events that the browser has sent."""

    def __init__(self, program: str, folder: Path) -> None:
        self.events: list[dict[str, Any]] = []
        self._number = 0
        self._read = b""
        reads, self._commands = os.pipe()
        self._answers, writes = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, str(reads), str(writes), program, *_FLAGS, f"--user-data-dir={folder}"],
            pass_fds=(reads, writes),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(reads)
        os.close(writes)
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Security"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(timeout=_TIMEOUT)
        os.close(self._commands)
        os.close(self._answers)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command to the page, and wait for its result."""
        return self._call(method, self._session, **parameters)

    def open(self, page: Path) -> None:
        """Open a file, and wait until it is loaded."""
        self.open_address(page.as_uri())

    def open_address(self, url: str) -> None:
        """Open a page, and wait until it is loaded."""
        self.events.clear()
        self.call("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._take(time.monotonic() + _TIMEOUT)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def log_messages(self) -> list[str]:
        """Messages that the browser logged: errors, warnings, violations of the content policy, exceptions."""
        methods = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
        return [json.dumps(event["params"]) for event in self.events if event["method"] in methods]

    def requests(self) -> list[str]:
        """URLs that the browser requested, without those that the content policy blocked."""
        blocked = {
            event["params"]["requestId"]
            for event in self.events
            if event["method"] == "Network.loadingFailed" and event["params"].get("blockedReason") == "csp"
        }
        sent = [event["params"] for event in self.events if event["method"] == "Network.requestWillBeSent"]
        return [each["request"]["url"] for each in sent if each["requestId"] not in blocked]

    def screenshot(self) -> bytes:
        """The whole page as a PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def _call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters}
        os.write(self._commands, json.dumps(command | ({"sessionId": session} if session else {})).encode() + b"\0")
        deadline = time.monotonic() + _TIMEOUT
        while True:
            message = self._take(deadline)
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]

    def _take(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._read:
            assert select.select([self._answers], [], [], max(deadline - time.monotonic(), 0))[0], (
                "the browser did not respond"
            )
            data = os.read(self._answers, 1 << 20)
            assert data, "the browser exited"
            self._read += data
        line, _, self._read = self._read.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        if "method" in message:
            self.events.append(message)
        return message


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """A browser, started once for each module."""
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        pytest.skip("Chromium is not installed")
    with Chromium(program, tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


def luminance(colour: str) -> float:
    """Relative luminance of a computed colour, `rgb(1, 2, 3)`, from 0 to 1, as WCAG 2.1 defines it."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    """Contrast of two computed colours, as WCAG 2.1 defines it: at least 4.5 for text."""
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
