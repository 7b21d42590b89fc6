"""The report in a real browser, where one is installed: nothing makes the page wider than its window."""

import html
import json
import re
import shutil
import subprocess

import pytest

from qpsbgd.experiments import CurvePoint, Run
from qpsbgd.experiments.core.store import Record
from qpsbgd.report import page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS = (400, 1280, 1920)

MEASURE = """<script>
addEventListener("load", () => {
  const found = [...document.querySelectorAll("iframe")].map(frame => {
    const root = frame.contentDocument.documentElement;
    const cut = [...root.querySelectorAll("body *")].filter(
      part => !part.closest("svg, .scroll > *") && part.getBoundingClientRect().right > root.clientWidth + 1);
    return [root.clientWidth, root.scrollWidth, cut.length];
  });
  document.body.innerHTML = "<pre id=found>" + JSON.stringify(found) + "</pre>";
});
</script>"""
"""Per frame: the window's width, the content's, and how many parts stick out that nothing scrolls."""


def a_page() -> str:
    """A report with long settings, several optimizers and curves."""
    task = {
        "name": "toy",
        "family": "Toy",
        "description": "a toy with a long description " * 4,
        "definition": {"steps": 3, "network": "784-512-512-10"},
        "version": 1,
        "metric": "test_accuracy",
        "tuning_metric": "validation_accuracy",
        "higher_is_better": True,
        "published": {"QP-SBGD": 0.66},
    }
    versions = {name: "0.1.0+a.long.version" for name in ("qpsbgd", "python", "torch", "numpy", "machine")}
    curve = (
        CurvePoint(1, {"loss": 2.0, "test_accuracy": 0.5}),
        CurvePoint(3, {"loss": 1.0, "test_accuracy": 0.9}),
    )
    settings = {f"an_option_of_a_long_name_{number}": number / 7 for number in range(9)}
    return page(
        [
            Record(
                task,
                optimizer,
                settings,
                seed,
                "test",
                versions,
                Run(seed, {"test_accuracy": 0.9}, curve),
                None,
            )
            for optimizer in ("qpsbgd", "binaryconnect-adam", "signsgd")
            for seed in range(2)
        ],
        {},
    )


def measured(document: str, folder) -> list[list[int]]:
    """Show a page in frames of all widths, and return what `MEASURE` finds."""
    frames = "".join(
        f'<iframe width={width} height=900 srcdoc="{html.escape(document)}"></iframe>' for width in WIDTHS
    )
    file = folder / "frames.html"
    file.write_text(f"<!DOCTYPE html><body>{frames}{MEASURE}</body>", encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile"]
    ended = subprocess.run(
        [BROWSER, *options, "--virtual-time-budget=5000", "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return json.loads(re.search(r'<pre id="found">(.*?)</pre>', ended.stdout)[1])


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_page_fits_phones_and_large_screens(tmp_path):
    found = measured(a_page(), tmp_path)
    # A frame's border takes no part of its width; a scroll bar may.
    assert all(0 <= width - window <= 20 for width, (window, _, _) in zip(WIDTHS, found, strict=True))
    assert [(content <= window, cut) for window, content, cut in found] == [(True, 0)] * 3


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_what_sticks_out_is_seen(tmp_path):
    found = measured("<!DOCTYPE html><body><p style='width: 1500px'>wide</p></body>", tmp_path)
    assert [content <= window for window, content, _ in found] == [False, False, True]
    assert [cut for _, _, cut in found] == [1, 1, 0]
