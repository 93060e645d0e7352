"""A real browser for tests: Chromium driven by chromedriver over W3C WebDriver, which is HTTP and JSON. Offline, fresh
profile, no window."""

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
MISSING = (
    "no chromium and chromedriver on this machine, so nobody looked at the pages: on Debian, "
    "apt-get install chromium chromium-driver"
)
SILENT = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--no-first-run",
    "--no-default-browser-check", "--metrics-recording-only", "--no-proxy-server",
    # Any name a page or the browser itself asks for leads nowhere.
    "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Space": " ", "Backspace": "\ue003"}
TIMEOUT_S = 120


class Browser:
    """with Browser(profile) as browser: one window, one page at a time."""

    def __init__(self, profile):
        self._profile = profile

    def __enter__(self):
        self._driver = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            self._root = self._address()
            options = {"binary": CHROMIUM, "args": [*SILENT, f"--user-data-dir={self._profile}"]}
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
            session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
            self._root += f"/session/{session['sessionId']}"
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_):
        try:
            self._call("DELETE", "")
        finally:
            self._stop()

    def open(self, path, *, width=1280, height=900, dark=False):
        """Load a file by its file:// address in a window of this size, with empty logs."""
        self._cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._cdp("Emulation.setEmulatedMedia", features=[scheme])
        self.messages(), self.requests()
        self._call("POST", "/url", {"url": path.resolve().as_uri()})

    def run(self, script, *arguments):
        """What a piece of JavaScript returns, as plain data."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def click(self, selector):
        """A click with the mouse, where the element is."""
        self._call("POST", f"/element/{self._find(selector)}/click", {})

    def press(self, *keys):
        """Keys one after another, to whatever has the focus."""
        values = [KEYS.get(key, key) for key in keys]
        strokes = [{"type": kind, "value": value} for value in values for kind in ("keyDown", "keyUp")]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]})

    def messages(self):
        """Everything on the console since the last call: errors, warnings, refused scripts, failed loads."""
        return [f"{entry['level']}: {entry['message']}" for entry in self._log("browser")]

    def requests(self):
        """Every address that was asked for since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self._log("performance")]
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]

    def _find(self, selector):
        return self._call("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT]

    def _log(self, kind):
        return self._call("POST", "/se/log", {"type": kind})

    def _cdp(self, command, **parameters):
        self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def _call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._root + path, data, {"Content-Type": "application/json"}, method=method)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(request, timeout=TIMEOUT_S) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise RuntimeError(f"{method} {path}: {error.read().decode()[:500]}") from None

    def _address(self):
        for line in self._driver.stdout:
            if found := re.search(rb"started successfully on port (\d+)", line):
                return f"http://127.0.0.1:{int(found[1])}"
        raise RuntimeError("chromedriver did not start")

    def _stop(self):
        self._driver.terminate()
        self._driver.wait(TIMEOUT_S)
        self._driver.stdout.close()
