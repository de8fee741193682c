"""Make the pictures of docs/smart-app.md: the app for eight sample patients, as Chromium draws it.

.venv/bin/python tests/screenshots.py
"""

import io
import sys
import tempfile
from pathlib import Path

from browser import CHROMIUM, demonstration, launched, open_flowsheet
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

FOLDER = Path(__file__).parent.parent / "docs" / "pictures"
MOST_BYTES = 60_000
COLOURS = 48
# patient, what of the page, width, light or dark, most pixels from the top
PICTURES = (
    ("03-kidney-transplant-falling-function", "main", 900, "light", 1500),
    ("04-heart-transplant-acute-kidney-injury", "worksheet", 900, "light", 900),
    ("12-liver-transplant-obesity", "main", 400, "dark", 1400),
    ("16-kidney-transplant-neutropenia", "#course-part", 900, "light", 1200),
    ("17-stem-cell-transplant-foscarnet", "#course-part", 900, "light", 1300),
    ("18-kidney-transplant-maribavir-level", "#course-part", 900, "light", 1200),
    ("19-kidney-transplant-resistant", "#course-part", 900, "light", 1200),
    ("22-heart-transplant-foscarnet-rate", "main", 400, "light", 1400),
)


def picture(browser: Browser, base: str, patient: str, part: str, width: int, scheme: str, height: int) -> bytes:
    """A PNG with few colours."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type] # one of two words
    page = context.new_page()
    page.set_default_timeout(60_000)
    open_flowsheet(page, base, patient)
    if part == "worksheet":
        page.get_by_role("link", name="Dose worksheet").click()
        page.wait_for_selector(".regimens")
    taken = page.locator("main" if part == "worksheet" else part).screenshot()
    context.close()
    image = Image.open(io.BytesIO(taken)).convert("RGB")
    image = image.crop((0, 0, image.width, min(image.height, height)))
    written = io.BytesIO()
    image.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(written, "PNG", optimize=True)
    return written.getvalue()


def main() -> None:
    """Write all pictures."""
    if CHROMIUM is None:
        sys.exit("no Chromium on this machine")
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, demonstration(Path(folder)) as base, sync_playwright() as playwright:
        browser = launched(playwright)
        for patient, part, width, scheme, height in PICTURES:
            taken = picture(browser, base, patient, part, width, scheme, height)
            if len(taken) > MOST_BYTES:
                sys.exit(f"{patient}: {len(taken)} bytes, more than {MOST_BYTES}")
            (FOLDER / f"{patient}.png").write_bytes(taken)
        browser.close()


if __name__ == "__main__":
    main()
