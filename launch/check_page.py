"""Look at a report's page as a reader's browser does: what it asks for, says, shows and how it is used by keyboard.

    pip install playwright, and a Chromium: apt-get install chromium, or playwright install chromium
    python launch/check_page.py runs/reports/<study>/report.html --browser /usr/bin/chromium [--axe axe.min.js] [--shots folder]

The page is opened from the file system at 1440 and 390 pixels, light and dark, and screenshots of it are kept. Checked are:
no line on the console, no request, no dialog, no sideways scrolling, seconds until all charts near the window stand, a walk by
keyboard through filters and matrices, filters kept in the address, every <text> asked for shown as text, and, with
axe-core's script (the npm package axe-core), no serious or critical finding. Exit code 1 if any of it fails.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WIDTHS = (1440, 390)
SCHEMES = ("light", "dark")
SERIOUS = ("serious", "critical")
LIMIT_SECONDS, LIMIT_BYTES, TRIES = 2.0, 3_000_000, 3


class Watched:
    """A page of the browser and what it did that it should not."""

    def __init__(self, browser: Any, file: Path, width: int, scheme: str):
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page, self.faults, self.url = self.context.new_page(), [], file.resolve().as_uri()
        self.page.on("console", lambda line: self.faults.append(f"console: {line.text}"))
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: (self.faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        self.page.on("request", self._note_request)
        began = time.perf_counter()
        self.page.goto(self.url, wait_until="load")
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)))")
        self.seconds = time.perf_counter() - began

    def _note_request(self, request: Any) -> None:
        if not request.url.startswith(("data:", self.url)):
            self.faults.append(f"request: {request.url}")

    def show_all(self) -> None:
        """Every chart drawn, as on paper."""
        self.page.evaluate("() => document.querySelectorAll('.chart').forEach((chart) => chart.show())")

    def close(self) -> list[str]:
        self.context.close()
        return self.faults


def check(browser: Any, arguments: argparse.Namespace) -> Iterator[str]:
    """A line for each fault; facts are printed."""
    size = arguments.page.stat().st_size
    print(f"{arguments.page}: {size:,} bytes")
    if size > LIMIT_BYTES:
        yield f"{size:,} bytes, more than {LIMIT_BYTES:,}"
    for width in WIDTHS:
        for scheme in SCHEMES:
            watched = Watched(browser, arguments.page, width, scheme)
            seconds = [watched.seconds]
            while min(seconds) > LIMIT_SECONDS and len(seconds) < TRIES:  # the machine may be busy with something else
                again = Watched(browser, arguments.page, width, scheme)
                seconds.append(again.seconds)
                again.close()
            print(f"{width} px, {scheme}: open after {min(seconds):.2f} s")
            if min(seconds) > LIMIT_SECONDS:
                yield f"{width} px, {scheme}: {min(seconds):.2f} s, more than {LIMIT_SECONDS:g}"
            watched.show_all()
            yield from find_faults(watched, width, scheme, arguments)
            yield from (f"{width} px, {scheme}: {fault}" for fault in watched.close())
    watched = Watched(browser, arguments.page, 1440, "light")
    yield from walk_filters(watched.page)
    yield from walk_matrices(watched.page)
    yield from (f"by keyboard: {fault}" for fault in watched.close())


def find_faults(watched: Watched, width: int, scheme: str, arguments: argparse.Namespace) -> Iterator[str]:
    page = watched.page
    wide = page.evaluate("() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    if wide[0] > wide[1]:
        yield f"{width} px, {scheme}: {wide[0]} px wide"
    empty = page.evaluate(
        "() => [...document.querySelectorAll('.panel')].filter((p) => !p.querySelector('svg path, svg circle, svg text')).length"
    )
    if empty:
        yield f"{width} px, {scheme}: {empty} panels without anything in them"
    if arguments.shots:
        arguments.shots.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(arguments.shots / f"{arguments.page.stem}_{width}_{scheme}.png"), full_page=True)
    shown = page.evaluate(
        "() => document.querySelectorAll('details').forEach((d) => { d.open = true; }) ?? document.body.innerText"
    )
    yield from (f"not shown as text: {text}" for text in arguments.text if text not in shown)
    if arguments.axe:
        page.evaluate(arguments.axe.read_text(encoding="utf-8"))  # by the debugger, which no policy of the page stops
        found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")["violations"]
        counts = {level: sum(each["impact"] == level for each in found) for level in ("minor", "moderate", *SERIOUS)}
        print(f"{width} px, {scheme}: axe {counts}")
        for each in found:
            places = "; ".join(str(node["target"]) for node in each["nodes"][:3])
            line = f"axe, {each['impact']}: {each['id']} ({len(each['nodes'])}): {places}"
            if each["impact"] in SERIOUS:
                yield line
            else:
                print(line)


def walk_filters(page: Any) -> Iterator[str]:
    """From the top by Tab, Enter and Space alone: leave out the first value of each filter, and open the page anew."""
    page.keyboard.press("Tab")
    if "skip" not in page.evaluate("() => document.activeElement.className"):
        yield "the first stop of Tab is not the skip link"
    keys = page.evaluate("() => [...document.querySelectorAll('[data-filter]')].map((f) => f.dataset.filter)")
    for key in keys:
        page.evaluate(
            "(key) => document.querySelector(`[data-filter=${key}]`).parentElement.querySelector('summary').focus()",
            key,
        )
        page.keyboard.press("Enter")
        for _ in range(3):  # all, none, the first box
            page.keyboard.press("Tab")
        value = page.evaluate("() => document.activeElement.value")
        before = count_shown(page)
        page.keyboard.press("Space")
        if count_shown(page) >= before:
            yield f"leaving out {value} hides nothing"
        if f"{key}=" not in page.evaluate("() => location.hash"):
            yield f"{value} left out is not in the address"
    hidden, address = count_shown(page), page.evaluate("() => location.href")
    if keys:
        page.goto("about:blank")
        page.goto(address)
        if count_shown(page) != hidden:
            yield f"opened anew at {address} it shows {count_shown(page)} rows and not {hidden}"
        print(f"filters by keyboard: {', '.join(keys)}; {hidden} rows are left, and after opening the address anew")
        page.goto("about:blank")
        page.goto(address.partition("#")[0])


def count_shown(page: Any) -> int:
    return int(page.evaluate("() => document.querySelectorAll('main tr:not([data-hidden])').length"))


def walk_matrices(page: Any) -> Iterator[str]:
    """Each matrix has one stop, and arrow keys reach every cell and tell of it."""
    count = page.evaluate("() => document.querySelectorAll('.matrix').length")
    for place in range(count):
        table = f"document.querySelectorAll('.matrix')[{place}]"
        stops = page.evaluate(f"() => {table}.querySelectorAll('td[tabindex=\"0\"]').length")
        if stops != 1:
            yield f"matrix {place} has {stops} stops of Tab"
        rows, columns = page.evaluate(
            f"() => [{table}.querySelectorAll('tbody tr').length, {table}.querySelectorAll('tbody tr:first-child td').length]"
        )
        page.evaluate(f"() => {table}.querySelector('td[tabindex=\"0\"]').focus()")
        told = set()
        for row in range(rows):
            for _ in range(columns - 1):
                told.add(page.evaluate(f"() => {table}.querySelector('.cell').textContent"))
                page.keyboard.press("ArrowLeft" if row % 2 else "ArrowRight")
            told.add(page.evaluate(f"() => {table}.querySelector('.cell').textContent"))
            page.keyboard.press("ArrowDown")
        if len(told) != rows * columns:
            yield f"matrix {place}: {len(told)} of {rows * columns} cells were told of"
    print(f"matrices by keyboard: {count}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("--browser", help="a Chromium; without it playwright's own")
    parser.add_argument("--axe", type=Path, help="axe.min.js")
    parser.add_argument("--shots", type=Path, help="folder for screenshots")
    parser.add_argument("--text", action="append", default=[], help="what must be shown as text; may be given again")
    arguments = parser.parse_args()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        print("check_page: playwright is missing: pip install playwright", file=sys.stderr)
        return 2
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=arguments.browser)
        faults = list(check(browser, arguments))
        browser.close()
    print("\n".join(faults) or "no fault")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
