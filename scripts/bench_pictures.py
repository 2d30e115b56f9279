"""Pictures of a bench report for the documentation: the page in Chromium, light and dark.

    edgex bench --backend openvino,onnxruntime --json REPORT.json
    python -m scripts.bench_pictures REPORT.json

Needs Playwright (of the dev extra) and Chromium, and writes docs/pictures/bench-report-light.webp and -dark.webp.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from edgex.report import read_report
from edgex.report.html import to_html

PICTURES = Path(__file__).resolve().parent.parent / "docs/pictures"
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
WIDTH, HEIGHT = 1120, 1500  # the page's top: what one sees first
LARGEST_BYTES = 250_000  # of both
_LOSSLESS = 101  # beyond 100 OpenCV writes WebP without loss: a page of flat colours is smaller so, and sharp


def photograph(
    page_file: Path, folder: Path, stem: str, width: int = WIDTH, height: int | None = HEIGHT
) -> Iterator[Path]:
    """Write STEM-light.webp and STEM-dark.webp of a page, without loss, and yield their paths.

    Parameters
    ----------
    page_file : the HTML
    folder, stem : where the pictures go
    width, height : of the window in pixels; height None takes the whole page
    """
    import cv2
    import numpy as np
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for scheme in SCHEMES:
            page = browser.new_page(
                viewport={"width": width, "height": height or 900}, color_scheme=scheme, java_script_enabled=False
            )
            page.goto(page_file.as_uri())
            shot = cv2.imdecode(np.frombuffer(page.screenshot(full_page=height is None), np.uint8), cv2.IMREAD_COLOR)
            assert shot is not None
            path = folder / f"{stem}-{scheme}.webp"
            if not cv2.imwrite(str(path), shot, [cv2.IMWRITE_WEBP_QUALITY, _LOSSLESS]):
                sys.exit(f"expected to write {path}, got no file; check folder and rights")
            yield path
        browser.close()


def main() -> None:
    """Write both pictures of the report that is named, and say how large they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, help="JSON of edgex bench")
    parser.add_argument("--folder", type=Path, default=PICTURES)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page_file = Path(folder) / "report.html"
        page_file.write_text(to_html(read_report(asked.report)), encoding="utf-8")
        sizes = {path: path.stat().st_size for path in photograph(page_file, asked.folder, "bench-report")}
    for path, size in sizes.items():
        print(f"{path.name}: {size} bytes")
    if sum(sizes.values()) > LARGEST_BYTES:
        sys.exit(f"expected pictures of {LARGEST_BYTES} bytes at most, got {sum(sizes.values())}; lower HEIGHT")


if __name__ == "__main__":
    main()
