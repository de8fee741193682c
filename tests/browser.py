"""A browser to look at the pages with: Chromium, headless, and the demonstration for it to look at."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from playwright.sync_api import Browser, Page, Playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def launched(playwright: Playwright) -> Browser:
    """Chromium of this machine; as root it cannot have its sandbox."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    return playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)


@contextmanager
def demonstration(folder: Path) -> Iterator[str]:
    """The address of a running demonstration, on a port of its own; its log goes into the folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    base, log = f"http://127.0.0.1:{port}", folder / "log"
    command = [sys.executable, "-m", "cdshooks.cli", "demo", "--port", str(port)]
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            _wait(base, process, log)
            yield base
        finally:
            process.terminate()


def _wait(base: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(400):
        try:
            with urlopen(f"{base}/health/ready", timeout=5):
                return
        except OSError:
            assert process.poll() is None, log.read_text(encoding="utf-8")
            time.sleep(0.2)
    raise AssertionError("the demonstration did not come up")


def open_flowsheet(page: Page, base: str, patient: str) -> None:
    """From the page of a sample patient into the app, as a clinician goes."""
    page.goto(f"{base}/patients/{patient}")
    page.get_by_role("link", name="Open the CMV flowsheet").click()
    page.wait_for_selector("#chart[data-drawn]")
