"""The page of a rehearsal: complete, self-contained, and readable in a real browser, wide and narrow, light and dark."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from haagent.core.units import MILLISECOND as MS
from haagent.core.units import SECOND
from haagent.lab.page import STYLE
from haagent.lab.rehearsal.page import as_html
from haagent.lab.rehearsal.running import Rehearsal
from haagent.lab.rehearsal.summary import as_json, text
from haagent.lab.rehearsal.verdicts import good, headline
from tests.unit.lab.rehearsal_files import report, scene

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
# Asks the page itself: does it overflow, is any text too faint, did anything want the network?
PROBE = """<script>
const lum = c => { const [r, g, b] = c.map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b };
const rgb = s => s.match(/[\\d.]+/g).map(Number);
const behind = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c.slice(0, 3) } return [255, 255, 255] };
let faint = [];
for (const e of document.querySelectorAll('body *')) {
  if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || e.closest('svg') || e.tagName === 'SCRIPT') continue;
  const a = lum(rgb(getComputedStyle(e).color).slice(0, 3)), b = lum(behind(e));
  if ((Math.max(a, b) + .05) / (Math.min(a, b) + .05) < 4.5) faint.push(e.className + ':' + e.textContent.slice(0, 20));
}
const root = document.documentElement;
document.title = JSON.stringify({ wide: root.scrollWidth, window: root.clientWidth, faint, lanes: document.querySelectorAll('.lane svg').length,
  dark: matchMedia('(prefers-color-scheme: dark)').matches, fetched: performance.getEntriesByType('resource').map(r => r.name) });
</script>"""


class Wellformed(HTMLParser):
    """Fails on a tag that closes what is not open."""

    VOID = frozenset({"meta", "link", "br"})

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_headline_is_the_worst_there_is():
    assert (
        headline(Rehearsal("haagent", [scene(1, "kill")]))
        == "never two owners at once, and always one in the end"
    )
    split = Rehearsal("haagent", [scene(1, "kill"), scene(2, "freeze", dual=40 * MS)])
    assert headline(split) == "two owners at once for 40 ms in all"
    assert not good(split)
    stopped = Rehearsal("haagent", [scene(1, "kill")], interrupted="interrupted")
    assert "until it was interrupted" in headline(stopped)
    assert not good(Rehearsal("haagent"))


def test_an_outage_is_above_the_plan_only_with_the_slack():
    assert not scene(1, "kill", outage=1500 * MS).over
    assert scene(1, "kill", outage=1501 * MS).over


def test_the_page_is_one_wellformed_file(tmp_path):
    page = as_html(report(tmp_path))
    parser = Wellformed()
    parser.feed(page)
    assert parser.open == []
    assert not re.search(r"<script|src=|url\((?!#)|@import|https?://", page)
    assert "something &lt;broke&gt; &amp; healed" in page
    for words in (
        "above the plan",
        "two owners",
        "takes three nodes",
        "--seed 7",
        "epoch 8",
        "virtual MAC",
        "keepalived",
    ):
        assert words in page


def test_json_and_text_say_the_same(tmp_path):
    made = report(tmp_path)
    said = json.loads(as_json(made))
    assert [one["dual_ms"] for one in said["played"]] == [0, 2000]
    assert said["played"][0]["faults"][1]["over_plan"]
    assert said["played"][0]["faults"][0]["owners"]["web"]["b"] == [[1240, 7000]]
    assert "keepalived: two owners at once for 2.00 s in all" in text(made).lower()


def test_colours_are_variables_so_that_both_schemes_have_them():
    light, dark = (
        set(re.findall(r"(--[a-z0-9-]+):", part))
        for part in STYLE.split("@media (prefers-color-scheme: dark)")[:2]
    )
    assert light == dark & light
    assert len(light) > 15


@pytest.mark.timeout(120)
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium")
@pytest.mark.parametrize(("width", "dark"), [(400, False), (1400, False), (1400, True)])
def test_a_real_browser_shows_it(tmp_path, width, dark):
    page = tmp_path / "page.html"
    page.write_text(as_html(report(tmp_path)).replace("</body>", f"{PROBE}</body>"))
    # the window of a headless browser cannot be narrower than 500; a frame can
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<body style="margin:0"><iframe src="page.html" width="{width}" height="900" style="border:0" '
        'onload="document.title = this.contentDocument.title; document.body.append(document.title)"></iframe>'
    )
    argv = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={max(width, 500) + 20},1000", "--dump-dom"]  # fmt: skip
    argv += (
        ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"]
        if dark
        else ["--blink-settings=preferredColorScheme=1"]
    )
    done = subprocess.run([*argv, frame.as_uri()], capture_output=True, text=True, timeout=100, check=True)
    assert "CONSOLE" not in done.stderr
    found = re.search(r"<title>(\{.*?\})</title>", done.stdout)
    assert found, done.stdout[-2000:]
    seen = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert seen["wide"] <= seen["window"] <= width  # it does not scroll sideways
    assert seen["window"] > width - 20  # but for a scroll bar
    assert seen["faint"] == []
    assert seen["dark"] == dark
    assert seen["fetched"] == []
    assert seen["lanes"] > 15


def test_seconds_are_counted_from_the_fault(tmp_path):
    page = as_html(report(tmp_path))
    assert ">-1 s</i>" in page
    assert ">0 s</i>" in page
    assert scene(1, "kill").span.begin == 10 * SECOND
