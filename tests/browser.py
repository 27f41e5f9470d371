"""A browser for tests: one that is on this machine, told to say everything and to ask the network for nothing."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
MISSING = "no Chromium with its driver on this machine (Debian: chromium, chromium-driver)"
"""Why a test is skipped where `CHROMIUM` or `DRIVER` is None."""
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # as root there is none
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--hide-scrollbars",
    "--window-size=1280,900",
)


class Browser:
    """One session; every test opens its page anew."""

    def __init__(self, profile: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        # With the path given, nothing is looked for on the network.
        self.driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))

    def open(self, html: str, path: Path, *, width: int = 1280, theme: str = "light") -> None:
        """Write `html` to `path` and open it as a person does: a file."""
        path.write_text(html, encoding="utf-8")
        self.look(width=width, theme=theme)
        self.complaints()
        self.requests()
        self.driver.get(path.as_uri())

    def look(self, *, width: int, theme: str = "light", media: str = "screen") -> None:
        """Set the width of the window and what the system says about light and dark."""
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [
            {"name": "prefers-color-scheme", "value": theme},
            {"name": "prefers-reduced-motion", "value": "reduce"},  # what is scrolled to is there at once
        ]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run the body of a function in the page."""
        return self.driver.execute_script(script, *arguments)

    def one(self, selector: str) -> Any:
        """Return the first element that `selector` finds."""
        return self.driver.find_element("css selector", selector)

    def complaints(self) -> list[str]:
        """What stood in the console since the last look."""
        # The log comes late: what was said before this line is there when this line is.
        last = f"looked at {time.monotonic_ns()}"
        self.run("console.info(arguments[0])", last)
        found: list[str] = []
        until = time.monotonic() + 20
        while not any(last in message for message in found):
            assert time.monotonic() < until, "the console is silent"
            found += [entry["message"] for entry in self.driver.get_log("browser")]
        return [message for message in found if "looked at " not in message]

    def requests(self) -> list[str]:
        """Addresses that were asked for since the last look, but for those inside the page and inside the browser."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return [
            address for address in asked if not address.startswith(("data:", "blob:", "chrome:", "chrome-untrusted:"))
        ]

    def close(self) -> None:
        """End the session and the browser."""
        self.driver.quit()
