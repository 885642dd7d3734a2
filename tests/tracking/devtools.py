"""A headless Chromium over its DevTools protocol, for pages that build themselves and are waited for.

Beside the tests of MLflow's own pages. aiohttp comes with Ray.
"""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    """One page of a browser that reaches the loopback alone.

    Args:
        folder: For its profile and its log.
        size: Width and height of the window in pixels.
    """

    def __init__(self, folder: Path, size: tuple[int, int] = (1600, 1100)) -> None:
        self._folder, self._size = folder, size
        self._loop = asyncio.new_event_loop()
        self._count = 0
        self.complaints: list[str] = []
        """Errors and warnings of the console, uncaught exceptions, failed requests."""

    def __enter__(self) -> Browser:
        profile = self._folder / "profile"
        command = [
            str(BROWSER), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            f"--user-data-dir={profile}", "--remote-debugging-port=0", "--remote-allow-origins=*",
            f"--window-size={self._size[0]},{self._size[1]}", "about:blank",
        ]  # fmt: skip
        with (self._folder / "browser.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            self._loop.run_until_complete(self._connect(profile / "DevToolsActivePort"))
        except BaseException:
            self._process.kill()
            raise
        for part in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{part}.enable")
        width, height = self._size
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.run_until_complete(self._session.close())
        self._loop.close()
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to one command of the protocol; what the page complained of meanwhile is kept."""
        return self._loop.run_until_complete(self._ask(method, parameters))

    def open(self, url: str) -> None:
        """Go there; on a page that builds itself, `wait_for` says when it is there."""
        self.ask("Page.navigate", url=url)

    def value(self, script: str) -> Any:
        """What an expression of JavaScript gives in the page; a promise is waited for."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def text(self) -> str:
        """All words that the page shows."""
        return str(self.value("document.body ? document.body.innerText : ''"))

    def wait_for(self, *words: str, timeout_s: float = 120.0) -> str:
        """The page's words once all of these are among them.

        Raises:
            AssertionError: Some are not there in time; says which, and what is there.
        """
        self.wait_until(
            f"{json.dumps(words)}.every(word => document.body?.innerText.includes(word))", timeout_s, words
        )
        return self.text()

    def wait_until(self, script: str, timeout_s: float = 120.0, what: object = "") -> None:
        """Wait until an expression is true in the page."""
        end_s = time.monotonic() + timeout_s
        while not self.value(script):
            if time.monotonic() > end_s:
                shown = self.text()
                missing = [word for word in what if word not in shown] if isinstance(what, tuple) else script
                raise AssertionError(f"not on the page: {missing}. On it: {shown[:4000]}")
            time.sleep(0.3)

    def shot(self, path: Path) -> None:
        """A picture of what the window shows."""
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))

    async def _connect(self, port_file: Path) -> None:
        for _ in range(200):
            if port_file.is_file() and len(lines := port_file.read_text().splitlines()) == 2:
                break
            await asyncio.sleep(0.3)
        else:
            raise AssertionError((self._folder / "browser.log").read_text()[-2000:])
        self._session = aiohttp.ClientSession()
        async with self._session.get(f"http://127.0.0.1:{lines[0]}/json/list") as answer:
            page = next(one for one in await answer.json() if one["type"] == "page")
        self._socket = await self._session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0)

    async def _ask(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._count += 1
        await self._socket.send_json({"id": self._count, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive_json(timeout=120)
            if message.get("id") == self._count:
                assert "error" not in message, (method, message["error"])
                return dict(message["result"])
            self._keep(message.get("method", ""), message.get("params", {}))

    def _keep(self, event: str, told: dict[str, Any]) -> None:
        if event == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif event == "Runtime.consoleAPICalled" and told["type"] in ("error", "assert"):
            self.complaints.append(" ".join(str(a.get("value", a.get("description"))) for a in told["args"]))
        elif event == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.complaints.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
        elif event == "Network.responseReceived" and told["response"]["status"] >= 400:
            self.complaints.append(f"{told['response']['status']} {told['response']['url']}")
