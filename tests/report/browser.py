"""A headless Chromium, spoken to over its own pipe: no driver, no package."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Of the DevTools protocol: what tells that a page is not as it should be.
_COMPLAINTS = ("Runtime.exceptionThrown", "Log.entryAdded")
# Keys without a letter: what they write, and their code.
_KEYS = {
    "Enter": ("\r", 13),
    "Tab": ("", 9),
    "Escape": ("", 27),
    "Home": ("", 36),
    "End": ("", 35),
    "ArrowDown": ("", 40),
    "ArrowUp": ("", 38),
}
# Becomes the browser, with the two descriptors under the numbers where --remote-debugging-pipe reads and writes.
_TO_3_AND_4 = """
import fcntl, os, sys
spare = [fcntl.fcntl(int(one), fcntl.F_DUPFD, 10) for one in sys.argv[1:3]]
for number, one in zip((3, 4), spare):
    os.dup2(one, number)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """One page; `errors` are what it complained of, `requests` the addresses that it asked for."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM
        asks, told = os.pipe(), os.pipe()
        words = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        words += ["--remote-debugging-pipe", f"--user-data-dir={profile}", "--no-first-run", "about:blank"]
        ends = (asks[0], told[1])
        self.process = subprocess.Popen(
            [sys.executable, "-c", _TO_3_AND_4, *map(str, ends), *words],
            pass_fds=ends,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(asks[0])
        os.close(told[1])
        self._asks, self._told = os.fdopen(asks[1], "wb", 0), os.fdopen(told[0], "rb")
        self._count, self._session = 0, None
        self._rest = b""
        self.errors: list[str] = []
        self.requests: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> Mapping[str, Any]:
        """Call a method of the protocol; events that come meanwhile are noted."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        self._asks.write(json.dumps(message).encode() + b"\0")
        while (said := self._read()).get("id") != self._count:
            self._note(said)
        assert "error" not in said, said
        result: Mapping[str, Any] = said["result"]
        return result

    def open(
        self, path: Path, width: int = 1280, *, dark: bool = False, media: str = "", script: bool = True
    ) -> None:
        """Load a file; waits until its script has run."""
        self.ask("Emulation.setScriptExecutionDisabled", value=not script)
        self.visit(path.resolve().as_uri(), width, dark=dark, media=media)

    def visit(self, url: str, width: int = 1280, *, dark: bool = False, media: str = "") -> None:
        """Load an address; waits until its script has run."""
        # A page that was shown before asks for nothing any more.
        self._go("about:blank")
        self.errors.clear()
        self.requests.clear()
        self.resize(width)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self._go(url)

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press and release a key by the name that scripts see, such as "Enter" or "a"."""
        # The codes of punctuation are those of other keys.
        text, code = _KEYS[key] if key in _KEYS else (key, ord(key.upper()) if key.isalnum() else 0)
        common = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        self.ask("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **common)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **common)

    def write(self, text: str) -> None:
        """Press the keys of a text, each line break as Shift+Enter."""
        for one in text:
            self.press("Enter", shift=True) if one == "\n" else self.press(one)

    def resize(self, width: int) -> None:
        """The width of the window in CSS pixels."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def until(self, expression: str, seconds: float = 30.0) -> Any:
        """Wait until a JavaScript expression gives something, and return it."""
        begun = time.monotonic()
        while not (found := self.value(expression)):
            assert time.monotonic() - begun < seconds, f"{expression} is still {found!r}; {self.errors}"
            time.sleep(0.02)
        return found

    def value(self, expression: str) -> Any:
        """What a JavaScript expression gives, as JSON gives it."""
        how = {"returnByValue": True, "awaitPromise": True, "allowUnsafeEvalBlockedByCSP": False}
        told = self.ask("Runtime.evaluate", expression=expression, **how)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def picture(self, path: Path) -> None:
        """A screenshot of the whole page, as PNG."""
        told = self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(told["data"]))

    def printed(self, path: Path) -> None:
        """The page as PDF."""
        told = self.ask("Page.printToPDF", printBackground=True, preferCSSPageSize=True)
        path.write_bytes(base64.b64decode(told["data"]))

    def close(self) -> None:
        """End the browser and its children."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._asks.close()
        self._told.close()

    def _go(self, url: str) -> None:
        self.ask("Page.navigate", url=url)
        while self._read_event() != "Page.loadEventFired":
            pass

    def _read_event(self) -> str:
        said = self._read()
        self._note(said)
        return str(said.get("method"))

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = self._told.read1(1 << 20)
            assert more, "the browser has gone"
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\0")
        said: dict[str, Any] = json.loads(line)
        return said

    def _note(self, said: Mapping[str, Any]) -> None:
        method, params = said.get("method"), said.get("params", {})
        if method in _COMPLAINTS or (method == "Runtime.consoleAPICalled" and params["type"] == "error"):
            self.errors.append(json.dumps(params))
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
