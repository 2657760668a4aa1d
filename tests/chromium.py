"""A headless Chromium that looks at pages: what they hold, what they complain of, what they ask the network for."""

from __future__ import annotations

import html
import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--allow-file-access-from-files",
    "--enable-logging=stderr",
    "--virtual-time-budget=8000",
)

OBSERVER = """<!doctype html><meta charset="utf-8"><style>body {margin: 0} iframe {border: 0; display: block}</style>
<iframe src="PAGE" style="width: WIDTHpx; height: 900px"></iframe><pre id="seen"></pre>
<script>
addEventListener("load", async () => {
  const seen = {}, view = document.querySelector("iframe").contentWindow, page = view.document;
  const wait = () => new Promise(done => setTimeout(done, 50));
  try { BODY } catch (error) { seen.error = String(error); }
  document.getElementById("seen").textContent = JSON.stringify(seen);
});
</script>"""


@dataclass(frozen=True)
class Browser:
    path: str
    folder: Path

    def run(self, *flags: str) -> subprocess.CompletedProcess[str]:
        profile = f"--user-data-dir={self.folder / 'profile'}"
        done = subprocess.run(
            [self.path, *FLAGS, profile, *flags], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        assert not complaints, complaints
        return done

    def observe(self, page: Path, body: str, width: int = 1200) -> dict[str, Any]:
        """What the JavaScript `body` puts into `seen`, with `view` and `page` as the window and document."""
        observer = self.folder / "observer.html"
        text = OBSERVER.replace("PAGE", page.name).replace("WIDTH", str(width)).replace("BODY", body)
        observer.write_text(text, encoding="utf-8")
        dom = self.run("--dump-dom", observer.as_uri()).stdout
        found = re.search(r'<pre id="seen">(.+?)</pre>', dom, re.DOTALL)
        assert found is not None, dom[-2000:]
        seen = json.loads(html.unescape(found[1]))
        assert "error" not in seen, seen["error"]
        return seen


def requests(log: Path) -> set[str]:
    """Addresses of all requests in Chromium's own network log, but for files and data."""
    entries = json.loads(log.read_text())
    urls = {
        event["params"]["url"] for event in entries["events"] if isinstance(event.get("params", {}).get("url"), str)
    }
    return {url for url in urls if url.startswith(("http:", "https:", "ws:", "wss:", "ftp:"))}


def fetched_for(browser: Browser, page: Path) -> set[str]:
    """Requests while `page` was shown that were not there while an empty page was: what Chromium wants for itself."""
    empty = browser.folder / "empty.html"
    empty.write_text("<!doctype html><title>nothing</title>", encoding="utf-8")
    seen = []
    for shown in (empty, page):
        log = browser.folder / f"{shown.stem}.netlog"
        browser.run(f"--log-net-log={log}", "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom", shown.as_uri())
        seen.append({re.sub(r"[?#].*", "", url) for url in requests(log)})
    return seen[1] - seen[0]
