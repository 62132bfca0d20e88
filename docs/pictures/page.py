"""Takes the pictures of docs/page.md: serves the bundled model, uses the page in Chromium, writes two PNG files.

    make pictures

Programs run in this process, trusted, so that nothing has to be built. Needs `chromium` and the development packages.
"""

from __future__ import annotations

import os
import shutil
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from pie_core.client import SyncClient
from pie_core.controller import Settings
from pie_core.server.threaded import Served, served

HERE = Path(__file__).parent
SIZE = {"width": 1180, "height": 940}
COLOURS = 64
BUSY = """
import asyncio
from inferlet import *

TEXT = "The capital of France is Paris. " * 12

async def main():
    model, forks = get_auto_model(), int(get_arg()[0])
    if forks == 2:
        context = model.create_context()
        await context.fill(TEXT)
        context.export("prefix")
    else:
        queue = model.create_queue()
        start = [] if model.bos_token is None else [model.bos_token]
        context = Context.open(model, "prefix", start + tokenize(queue, TEXT))
    send("filled")
    seed = 0
    while True:
        await asyncio.gather(*(answer(context, seed := seed + 1) for _ in range(forks)))

async def answer(context, seed):
    with context.fork() as branch:
        await branch.fill(f"Numbers: {seed}")
        await branch.generate(sampling(1.0, seed=seed), max_tokens(10 + seed % 9))
"""


def take_playground(page: Page, url: str) -> None:
    """The program of the README, run."""
    page.goto(url)
    page.get_by_role("status").get_by_text("Connected").wait_for()
    page.get_by_label("Installed programs").select_option(label="(a new program)")
    page.get_by_role("button", name="Run").click()
    page.get_by_text("Finished after").wait_for()
    page.get_by_role("region", name="Branches").get_by_text("Santiago").wait_for()
    save(page, "page-playground.png")


def take_map(page: Page, url: str, program: Path) -> None:
    """Programs that hold pages and generate."""
    page.goto(f"{url}/#map")
    with SyncClient(url) as client:
        for forks in (2, 4, 6, 3, 5):
            inferlet = client.launch(program, [str(forks)])
            assert inferlet.receive() == "filled"
        page.wait_for_timeout(9000)  # the strip shows 10 seconds
        save(page, "page-map.png")


def save(page: Page, name: str) -> None:
    """A few colours are enough for a page, and make a small file."""
    shot = Image.open(BytesIO(page.screenshot()))
    shot.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(HERE / name, optimize=True)
    print(f"{HERE / name}: {(HERE / name).stat().st_size} bytes")


def main() -> None:
    chromium = shutil.which("chromium")
    sandbox = [] if os.geteuid() else ["--no-sandbox"]
    settings = Settings("pico", "torch", {"dtype": "float32", "pages": "192", "embeds": "256"}, tier="native")
    with TemporaryDirectory() as directory, served(settings, Served) as server, sync_playwright() as playwright:
        program = Path(directory) / "branches.py"
        program.write_text(BUSY)
        browser = playwright.chromium.launch(executable_path=chromium, args=sandbox)
        take_playground(browser.new_page(viewport=SIZE, color_scheme="light"), server.url)
        take_map(browser.new_page(viewport={**SIZE, "height": 1180}, color_scheme="light"), server.url, program)


if __name__ == "__main__":
    main()
