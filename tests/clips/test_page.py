"""The page and the contact sheet: what is in them, and whether a browser plays them."""

import base64
import html.parser
import http.server
import json
import re
import shutil
import subprocess
import threading

import fakes
import numpy as np
import pytest
from PIL import Image
from test_pipeline import make_plan, run

from jaxtalk.clips import contact, folder, report
from jaxtalk.clips.record import load

NASTY = 'he said "a < b" & <script>alert(1)</script> so there'


@pytest.fixture(scope="module")
def out(tmp_path_factory):
  base = tmp_path_factory.mktemp("page")
  plan = make_plan(base, texts=[NASTY, "four five six seven eight nine ten"], size=128)
  run(plan, base / "out")
  report.write(base / "out", folder.write_metadata(base / "out"))
  return base / "out"


def data(out):
  text = (out / "index.html").read_text(encoding="utf-8")
  return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_the_page_holds_videos_curves_phones_and_attributes(out):
  page = data(out)
  assert page["total"] == 2 and [clip["id"] for clip in page["clips"]] == ["clip_000000000", "clip_000000001"]
  clip = page["clips"][1]
  video = base64.b64decode(clip["video"].removeprefix("data:video/mp4;base64,"))
  assert video == (out / "clips" / "clip_000000001.mp4").read_bytes()
  curves = {curve["name"]: curve["values"] for curve in clip["curves"]}
  assert set(curves) == {"jaw open", "mouth gap", "blink", "head yaw", "head pitch"}
  with np.load(out / "clips" / "clip_000000001.npz") as arrays:
    np.testing.assert_allclose(curves["jaw open"], arrays["arkit"][:, 17], atol=1e-3)
    np.testing.assert_allclose(curves["mouth gap"], arrays["arkit"][:, 17] * 30, atol=1e-3)  # the stand-in's 30 mm
  assert clip["phones"][1][0] == "M" and clip["spoken"][0][0] == "four"
  facts = dict(clip["facts"])
  assert {"age", "ancestry", "emotion", "camera", "seed", "voice", "hair"} <= set(facts)
  assert all((out / name).is_file() for name in clip["files"])


def test_a_text_cannot_break_out_of_the_page(out):
  text = (out / "index.html").read_text(encoding="utf-8")
  assert "<script>alert" not in text and NASTY in data(out)["clips"][0]["words"]
  html.parser.HTMLParser().feed(text)


def test_the_page_needs_nothing_from_elsewhere(out):
  text = (out / "index.html").read_text(encoding="utf-8")
  assert not re.search(r'(?:src|href)="(?!data:|clips/)', text) and "url(" not in text and "@import" not in text


def test_large_videos_are_linked_not_embedded(out, monkeypatch):
  monkeypatch.setattr(report, "EMBED_BYTES", 10)
  records = [load(out / "clips", document) for document in folder.write_metadata(out)]
  assert '"video":"clips/clip_000000000.mp4"' in report.render(records, total=2)


def test_the_contact_sheet_has_a_row_a_clip(out):
  with Image.open(out / "contact_sheet.png") as sheet:
    assert sheet.width == contact._WIDTH and sheet.height > 2 * contact._SIDE
    assert "Synthetic" in sheet.text["Comment"]
    pixels = np.asarray(sheet)
  with np.load(out / "clips" / "clip_000000000.npz") as arrays:
    assert len(arrays["arkit"]) >= 6
  first = pixels[contact._HEADER + contact._CAPTION + 10, contact._MARGIN + 10]
  colour = np.random.default_rng(json.loads((out / "clips" / "clip_000000000.json").read_text())["seed"])
  assert np.abs(first.astype(int) - colour.integers(60, 220, 3)).max() < 12  # the stand-in's wall, through H.264


def test_moments_are_spoken_varied_and_in_order(out):
  (_, document) = folder.write_metadata(out)
  record = load(out / "clips", document)
  moments = contact.speaking_moments(record, 5)
  assert moments == sorted(set(moments)) and len(moments) == 5
  opening = record.channel("jawOpen")
  assert int(np.argmax(opening)) in moments and np.ptp(opening[moments]) > 0.8 * np.ptp(opening)
  assert len(contact.speaking_moments(record, 1000)) == document["frames"]


PROBE = """
<script>
const errors = [];
console.error = (...words) => errors.push(words.join(" "));
addEventListener("error", (event) => errors.push(event.message));
addEventListener("load", async () => {
  const found = [];
  for (const video of document.querySelectorAll("video")) {
    video.muted = true;
    await video.play();
    await new Promise((done) => {
      const timer = setInterval(() => { if (video.currentTime > 0.2) { clearInterval(timer); done(); } }, 20);
    });
    video.pause();
    const card = video.closest("article");
    found.push([video.readyState, video.duration, video.videoWidth, card.querySelectorAll("path.curve").length,
      card.querySelectorAll("text.phone").length, card.querySelector(".playhead").style.transform]);
  }
  fetch("/found", { method: "POST", body: JSON.stringify({ errors, found }) });
});
</script>
"""


class Server(http.server.ThreadingHTTPServer):
  """Serves one page and waits for what its probe finds."""

  def __init__(self, page):
    super().__init__(("127.0.0.1", 0), Handler)
    self.page, self.answer, self.answered = page, None, threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
  def do_GET(self):
    self.send_response(200)
    self.send_header("Content-Type", "text/html; charset=utf-8")
    self.end_headers()
    self.wfile.write(self.server.page.encode())

  def do_POST(self):
    self.server.answer = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
    self.server.answered.set()
    self.send_response(204)
    self.end_headers()

  def log_message(self, *args):
    pass


@pytest.mark.slow
def test_a_real_browser_plays_the_videos_and_draws_the_curves(out, tmp_path):
  browser = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
  if browser is None:
    pytest.skip("no chromium on this machine")
  page = (out / "index.html").read_text(encoding="utf-8").replace("<main>", PROBE + "<main>")
  with Server(page) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"]
    command += [f"--user-data-dir={tmp_path}/profile", f"http://127.0.0.1:{server.server_port}/"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
      server.answered.wait(timeout=60)
      process.terminate()
    server.shutdown()
  assert server.answer is not None, "the page did not report back"
  assert server.answer["errors"] == []
  for (ready, seconds, width, curves, phones, playhead), clip in zip(
    server.answer["found"], data(out)["clips"], strict=True
  ):
    assert ready >= 2 and abs(seconds - clip["seconds"]) < 0.1 and width == 128
    assert curves == 5 and phones >= 3 and playhead not in ("", "translateX(0px)")


def test_records_measure_the_mouth(out):
  document = folder.write_metadata(out)[0]
  record = load(out / "clips", document)
  assert record.mouth_gap_mm().max() <= 30.01 and record.seconds == document["frames"] / 10
  envelope = record.envelope(50)
  assert envelope.shape == (50, 2) and (envelope[:, 0] <= envelope[:, 1]).all()
  assert fakes.RATE == document["speech"]["sr"]
