"""The page that reads films: what visitors see, what it refuses, and that it keeps nothing."""

import contextlib
import functools
import http.client
import io
import json
import re
import resource
import socket
import sys
import threading
import time
import urllib.parse
import zlib

import dicom_files
import numpy as np
import pytest
import toy_runs
from PIL import Image
from pydicom.uid import JPEG2000Lossless

from cxr import phantoms
from cxr.__main__ import main
from cxr.errors import InputError
from cxr.evaluation import thresholding
from cxr.findings import FINDINGS, label
from cxr.modelling import predict
from cxr.publish import browser, markdown, serving

pytestmark = pytest.mark.slow

needs_browser = pytest.mark.skipif(not browser.path(), reason="no Chromium is installed")

CARD = "# Model card: small-patient\n\nAUROC **0.7**.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root with a run of real films and a card, and one of phantoms."""
    root = tmp_path_factory.mktemp("root")
    toy_runs.make(root / "runs" / "small-patient")
    toy_runs.make(root / "drawn" / "runs" / "drawn-patient", phantoms=True)
    (root / "presentation").mkdir()
    (root / "presentation" / "model_card_small-patient.md").write_text(CARD)
    return root


@pytest.fixture(scope="module")
def server(root):
    made = serving.Server(predict.Model(root / "runs" / "small-patient"), "a reason", port=0)
    with serving.running(made):
        yield made


@pytest.fixture(scope="module")
def drawn(root):
    made = serving.Server(predict.Model(root / "drawn" / "runs" / "drawn-patient"), port=0)
    with serving.running(made):
        yield made


def png(seed=1, side=200):
    buffer = io.BytesIO()
    Image.fromarray(toy_runs.film(seed, side=side)).save(buffer, "PNG")
    return buffer.getvalue()


def ask(server, path="/film", content=None, *, method=None, name="film.png", **headers):
    """The status, the headers and the text that a request is answered with."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    if path == "/film":
        path = f"/film?{urllib.parse.urlencode({'name': name})}"
    given = {"X-Token": server.token} | {k.replace("_", "-"): v for k, v in headers.items()}
    given = {key: value for key, value in given.items() if value is not None}
    method = method or ("GET" if content is None else "POST")
    with contextlib.closing(connection):
        connection.request(method, path, body=content, headers=given)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode("utf-8", "replace")


def values(report):
    """The probabilities that a page holds, by finding."""
    found = re.findall(r'film-name">(.*?)</span>.*?<data value="(.*?)"', report, re.DOTALL)
    return {name: float(value) for name, value in found}


def test_the_page_gives_the_scores_of_the_command(server, root, tmp_path, monkeypatch, capsys):
    (tmp_path / "film.png").write_bytes(png())
    monkeypatch.setenv("CXR_ROOT", str(root))
    main(["predict", "--profile", "first_archive", str(tmp_path / "film.png"), "--json", "-"])
    told = json.loads(capsys.readouterr().out)["findings"]
    status, _, report = ask(server, content=png())
    shown = values(report)
    assert status == 200 and len(shown) == len(FINDINGS)
    for line in told:
        assert shown[label(line["finding"])] == pytest.approx(line["probability"], abs=1e-5)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_dicom_film_has_the_scores_of_its_png(server, bits):
    stored = np.rint(toy_runs.film(1, side=200) * (((1 << bits) - 1) / 255))
    stored = stored.astype(np.uint8 if bits == 8 else np.uint16)
    made = dicom_files.compressed(stored, JPEG2000Lossless, bits=bits)
    expected = values(ask(server, content=png())[2])
    assert values(ask(server, content=dicom_files.file(made))[2]) == pytest.approx(
        expected, abs=1e-5
    )


def test_the_page_asks_no_other_host_and_runs_its_own_scripts_only(server):
    status, headers, page = ask(server, "/")
    assert status == 200
    assert not re.findall(r"https?://", page.replace(server.address, ""))
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]
    assert headers["Cache-Control"] == "no-store" and headers["Referrer-Policy"] == "no-referrer"
    assert server.token not in page and "not a medical device" in page
    assert "AUROC <strong>0.7</strong>" in page and "small-patient</code> (a reason)" in page


def test_nobody_gets_in_without_the_token(server):
    for token in (None, "", "x", server.token[:-1], server.token + "x", "é"):
        for path, content in (("/", None), ("/film", png()), ("/example/0", None)):
            headers = {} if token is None else {"X_Token": token.encode("latin-1", "replace")}
            status, _, text = ask(server, path, content, **({"X_Token": None} | headers))
            assert status == 403 and "with its token" in text
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
    with contextlib.closing(connection):
        connection.request("GET", f"/?token={server.token}")
        assert connection.getresponse().status == 200
    other = serving.Server(server.model, port=0)
    other.server_close()
    assert len(server.token) > 40 and other.token != server.token


@pytest.mark.parametrize(
    ("host", "welcome"),
    [
        ("127.0.0.1:{port}", True),
        ("localhost:{port}", True),
        ("[::1]:{port}", True),
        ("192.168.1.7:9000", True),  # a tunnel; digits cannot be rebound
        ("evil.example:{port}", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example:{port}", False),
        ("[::1", False),
        ("", False),
    ],
)
def test_a_name_that_was_bound_to_this_machine_by_others_is_refused(server, host, welcome):
    status, _, text = ask(server, "/", Host=host.format(port=server.server_port))
    assert (status == 200) == welcome
    assert welcome or (status == 403 and "another name" in text)


def test_pages_of_other_origins_are_refused(server):
    own = f"http://127.0.0.1:{server.server_port}"
    for origin in ("http://evil.example", "null", own + "0", "http://localhost:1"):
        status, _, text = ask(server, content=png(), Origin=origin)
        assert status == 403 and "Another page" in text
    assert ask(server, content=png(), Origin=own)[0] == 200


def raw(server, request, *, finish=True, seconds=12):
    """What bytes on a connection are answered with, and after how long."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=seconds) as made:
        with contextlib.suppress(OSError):
            made.sendall(request)
            if finish:
                made.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while piece := made.recv(1 << 16):
                answer += piece
    return answer.decode("utf-8", "replace"), time.monotonic() - began


def post(server, *lines, body=b""):
    head = ["POST /film?name=x HTTP/1.1", "Host: localhost", f"X-Token: {server.token}", *lines]
    return "\r\n".join([*head, "", ""]).encode() + body


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["Content-Length: 524288000"], "413"),
        ([f"Content-Length: {serving.LARGEST_UPLOAD + 1}"], "413"),
        (["Content-Length: 1" + "0" * 5000], "413"),
        (["Content-Length: -1"], "411"),
        (["Content-Length: ²"], "411"),
        (["Content-Length: 1e3"], "411"),
        ([], "411"),
        (["Transfer-Encoding: chunked"], "411"),
        (["Transfer-Encoding: chunked", "Content-Length: 3"], "411"),
    ],
    ids=str,
)
def test_a_body_that_is_too_large_or_of_unknown_size_is_refused_unread(server, lines, status):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer, seconds = raw(server, post(server, *lines, body=b"5\r\nhello\r\n" * 1000), finish=False)
    assert answer.split()[1] == status and answer.rstrip().endswith(".")
    assert seconds < 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_a_film_that_does_not_arrive_whole_is_refused(server, monkeypatch):
    answer, _ = raw(server, post(server, "Content-Length: 100", body=b"ten bytes."))
    assert answer.split()[1] == "408"
    assert "did not arrive whole: its sending ended early. Send it again" in answer
    monkeypatch.setattr(serving._Handler, "timeout", 0.2)
    silent, seconds = raw(server, post(server, "Content-Length: 100"), finish=False)
    assert silent.split()[1] == "408" and seconds < 5 and "nothing came for 0 seconds" in silent


def test_who_reads_slowly_gets_the_whole_report(server, monkeypatch):
    monkeypatch.setattr(serving, "_PIECE", 1024)
    monkeypatch.setattr(serving._Handler, "timeout", 1.0)
    setup = serving._Handler.setup

    def narrow(handler):
        handler.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        setup(handler)

    monkeypatch.setattr(serving._Handler, "setup", narrow)
    content, answer = png(), b""
    with socket.socket() as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.settimeout(10)
        made.connect(("127.0.0.1", server.server_port))
        made.sendall(post(server, f"Content-Length: {len(content)}", body=content))
        began = time.monotonic()
        while piece := made.recv(2048):
            answer += piece
            time.sleep(0.1)
    head, _, report = answer.partition(b"\r\n\r\n")
    assert b" 200 " in head and len(report) == int(re.search(rb"Content-Length: (\d+)", head)[1])
    # Longer than any silence may last.
    assert time.monotonic() > began + 1.5


@pytest.mark.parametrize(
    "request_",
    [
        b"\r\n", b"\0" * 300, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
        b"DELETE / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /" + b"a" * 70_000,
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n",
        b"GET http://[::1/?token=x HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET //[ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=lambda content: repr(content[:16]),
)  # fmt: skip
def test_what_is_no_request_does_no_harm(server, request_):
    answer, seconds = raw(server, request_)
    assert seconds < 5 and "Traceback" not in answer
    assert not answer or re.match(r"HTTP/\d\.\d [45]\d\d", answer) or "no request" in answer
    assert ask(server, "/")[0] == 200


def test_other_paths_and_files_of_the_disk_are_no_pages(server):
    for path in ("/film", "/example/99", "/../etc/passwd", "/example/../../x", "/%2e%2e/x"):
        assert ask(server, path if path != "/film" else "/film?x", method="GET")[0] == 404
    assert ask(server, "/other", png())[0] == 404


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd", "..\\..\\windows\\win.ini", "/etc/shadow", "a\0b.png", "C:film.png",
        "<img src=x onerror=alert(1)>.png", "x" * 5000, "\u202egnp.exe", "", "...", "film\r\nX: y",
        "{{ 7 * 7 }}", "%2e%2e%2f", "</script><script>alert(1)</script>",
    ],
    ids=lambda name: repr(name[:12]),
)  # fmt: skip
def test_a_name_is_text_and_leads_nowhere(server, name):
    status, headers, report = ask(server, content=png(), name=name)
    title = re.search(r'id="film-1-title">(.*?)</h2>', report, re.DOTALL)[1]
    assert status == 200 and len(values(report)) == len(FINDINGS)
    assert "<" not in title and "\n" not in title and "\u202e" not in title and title
    assert len(title) < 500 and "X" not in headers and "onerror=alert(1)>" not in report
    assert "/" not in title.replace("&#", "")


def bomb():
    """64 million pixels in 65 kB."""
    image = io.BytesIO()
    Image.new("1", (8000, 8000)).save(image, "PNG")
    return image.getvalue()


def liar(width, height):
    """A PNG that announces more pixels than it holds."""
    content = bytearray(png())
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


@functools.cache
def victims():
    pixels = toy_runs.film(2, side=120)
    jpeg, progressive = io.BytesIO(), io.BytesIO()
    Image.fromarray(pixels).save(jpeg, "JPEG")
    Image.fromarray(pixels).save(progressive, "JPEG", progressive=True)
    return [
        png(side=120),
        jpeg.getvalue(),
        progressive.getvalue(),
        dicom_files.file(dicom_files.header(pixels, WindowCenter=100, WindowWidth=60)),
        *(
            dicom_files.file(dicom_files.compressed(pixels, syntax))
            for syntax in dicom_files.COMPRESSED
        ),
    ]


def hostile(seed):
    """A file that somebody might send on purpose, or by a fault."""
    random = np.random.default_rng((16, seed))
    fixed = [
        b"", b"\0", b"text, no film", b"%PDF-1.7\n", b"PK\x03\x04", b"GIF89a", b"<svg/>",
        b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\0" * 128 + b"DICM", bomb(), liar(10**9, 10**9),
        liar(65_535, 1), liar(0, 0), png() + b"PK\x05\x06" + b"\0" * 18,
        b"\x89PNG\r\n\x1a\n" + victims()[3][8:], b"\xff\xd8\xff" + victims()[0][3:],
        victims()[1] + b"<script>alert(1)</script>", bytes(random.bytes(10_000)),
    ]  # fmt: skip
    if seed < len(fixed):
        return fixed[seed]
    content = bytearray(victims()[seed % len(victims())])
    if seed % 3 == 0:
        return bytes(content[: random.integers(len(content))])
    # Headers stand first; what is altered there has the largest effect.
    for place in random.integers(0, min(len(content), 1500), random.integers(1, 12)):
        content[place] = random.choice([0, 255, 127, 128, random.integers(256)])
    if seed % 3 == 1 and content[:4] == b"\x89PNG":
        content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


def attack(server, seed):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    status, _, report = ask(server, content=hostile(seed), name=f"../{seed}.png")
    assert time.monotonic() - began < 10
    assert status == 200
    verdict = re.search(r'<p class="verdict ([\w-]+)">(.*?)</p>', report, re.DOTALL)
    words = " ".join(re.sub("<.*?>", "", verdict[2]).split())
    if verdict[1] == "refused":
        assert re.match(r"Refused\. [A-Z].{8,250}\. Research software", words), words
        assert not values(report) and "SECRET" not in report
    else:
        assert len(values(report)) == len(FINDINGS)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 1_500_000, f"{grown >> 10} MB for one file"


@pytest.mark.parametrize("seed", range(40))
def test_a_hostile_upload_is_read_or_refused_in_a_sentence(server, seed):
    attack(server, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(40, 240))
def test_hostile_uploads_are_read_or_refused_in_a_sentence(server, seed):
    attack(server, seed)


def at_once(server, contents):
    answers = [None] * len(contents)

    def send(place):
        answers[place] = ask(server, content=contents[place], name=f"{place}.png")

    threads = [threading.Thread(target=send, args=(n,)) for n in range(len(contents))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return answers


def test_twenty_uploads_at_once_get_each_its_own_answer(server):
    contents = [png(seed) if seed % 2 else b"text" for seed in range(20)]
    began = time.monotonic()
    answers = at_once(server, contents)
    assert time.monotonic() - began < 10
    for place, (status, _, report) in enumerate(answers):
        assert status == 200 and f">{place}.png</h2>" in report
        assert bool(values(report)) == bool(place % 2)
    alone = values(ask(server, content=contents[3])[2])
    assert values(answers[3][2]) == pytest.approx(alone, abs=1e-6)


def test_who_finds_no_place_is_told_to_come_again(server, monkeypatch):
    monkeypatch.setattr(serving, "WAIT", 0.05)
    with contextlib.ExitStack() as held:
        for _ in range(serving.MOST_FILMS):
            held.enter_context(server.place())
        status, _, text = ask(server, content=png())
        assert status == 503 and "try this one again" in text
    assert ask(server, content=png())[0] == 200
    monkeypatch.setattr(serving, "MOST_CONNECTIONS", 0)
    assert raw(server, b"")[0].split()[1] == "503"


def test_a_connection_that_never_ends_is_cut(server, monkeypatch):
    monkeypatch.setattr(serving, "LIFE", 0.3)
    answer, seconds = raw(server, post(server, "Content-Length: 100"), finish=False)
    assert seconds < 5 and (not answer or answer.split()[1] == "408")


WRITES = {"os.mkdir", "os.rename", "os.link", "os.symlink", "os.truncate", "tempfile.mkstemp"}
watched, seen = threading.Event(), []


def _watch(event, arguments):
    # At the interpreter's end the names of this module are gone before the hook is.
    if watched is None or not watched.is_set():
        return
    if event == "open":
        mode, flags = arguments[1], arguments[2]
        writes = isinstance(mode, str) and set(mode) & set("wax+")
        if writes or (isinstance(flags, int) and flags & 3):
            seen.append((event, arguments))
    elif event in WRITES:
        seen.append((event, arguments))


def test_no_upload_touches_the_disk(server, tmp_path):
    # The first film of all has the network traced, which writes code, not films.
    ask(server, content=png())
    sys.addaudithook(_watch)
    watched.set()
    try:
        for content in (png(), *victims(), b"text", victims()[0][:-30]):
            assert ask(server, content=content)[0] == 200
        kept = list(seen)
        # The watch itself: it sees a file that is written.
        (tmp_path / "seen").write_bytes(b"")
        assert len(seen) > len(kept)
    finally:
        watched.clear()
    assert kept == []


def test_a_model_of_phantoms_offers_drawings_and_refuses_real_films(drawn, server):
    page = ask(drawn, "/")[2]
    assert "make run PROFILE=first_archive" in page and "Real films are refused here" in page
    assert page.count("data-example=") == len(serving.EXAMPLES)
    drawing = drawn.example(1)
    assert phantoms.is_phantom(Image.open(io.BytesIO(drawing)))
    assert len(values(ask(drawn, content=drawing)[2])) == len(FINDINGS)
    report = ask(drawn, content=png())[2]
    assert 'class="verdict refused"' in report and "make run PROFILE=first_archive" in report
    real = ask(server, "/")[2]
    assert "data-example=" not in real and "refuses drawings" in real


def test_a_card_from_elsewhere_brings_no_script_along():
    card = markdown.untrusted(
        "# T\n\n<script>alert(1)</script>\n\nx <b onclick=a()>y</b> [a](javascript:alert(1)) "
        "![i](http://evil.example/x.png)",
        level=2,
    )
    assert "<script" not in card and "<b" not in card and 'href="javascript' not in card
    assert "<img" not in card and "<h3" in card


def test_a_place_that_is_taken_is_refused_in_a_sentence(server, root, monkeypatch, capsys):
    with pytest.raises(InputError, match="give another --port"):
        serving.Server(server.model, port=server.server_port)
    monkeypatch.setenv("CXR_ROOT", str(root))
    assert main(["serve", "--profile", "first_archive", "--port", str(server.server_port)]) == 1
    assert "nothing can listen at 127.0.0.1" in capsys.readouterr().err
    assert main(["serve", "--profile", "first_archive", "--run", "none"]) == 1


def test_a_tampered_model_opens_no_page(tmp_path, monkeypatch, capsys):
    folder = toy_runs.make(tmp_path / "runs" / "small-patient")
    content = bytearray((folder / "model.keras").read_bytes())
    content[len(content) // 2] ^= 255
    (folder / "model.keras").write_bytes(content)
    monkeypatch.setenv("CXR_ROOT", str(tmp_path))
    assert main(["serve", "--profile", "first_archive", "--port", "0"]) == 1
    said = capsys.readouterr().err
    assert "model.keras cannot be loaded" in said and "Traceback" not in said


def test_it_listens_to_this_machine_unless_told_otherwise(server):
    assert server.local and server.address.startswith("http://127.0.0.1:")
    wide = serving.Server(server.model, host="0.0.0.0", port=0)
    wide.server_close()
    assert not wide.local


# In a browser.


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """A browser whose profile lies in a folder of its own, and that folder."""
    folder = tmp_path_factory.mktemp("browser")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        with browser.opened() as opened:
            yield opened, folder


class Visitor:
    """A tab on the page that remembers what it asked for and what went wrong."""

    def __init__(self, chromium, server, width):
        self.context = chromium.new_context(
            viewport={"width": width, "height": 900}, accept_downloads=True
        )
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(15_000)
        self.asked, self.faults = [], []
        self.tab.on("request", lambda request: self.asked.append(request.url))
        self.tab.on("pageerror", lambda error: self.faults.append(str(error)))
        self.tab.on("console", lambda m: m.type == "error" and self.faults.append(m.text))
        self.tab.goto(server.address)

    def films(self, number):
        """Wait until so many films are shown."""
        self.tab.wait_for_function(
            "number => document.querySelectorAll('#answers .film').length === number", arg=number
        )
        return self.tab.locator("#answers .film")


def given(name, content):
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


@needs_browser
@pytest.mark.parametrize("width", [1440, 390])
def test_films_are_read_in_a_browser_by_mouse_and_by_keyboard(chromium, drawn, tmp_path, width):
    visitor = Visitor(chromium[0], drawn, width)
    tab = visitor.tab
    # By keyboard: the first drawing, then the film's controls.
    tab.get_by_role("button", name="Effusion").focus()
    tab.keyboard.press("Enter")
    film = visitor.films(1).first
    assert film.locator("h2").inner_text() == "Effusion (drawing).png"
    assert film.locator(".film-row").count() == 14
    assert "not a medical device" in film.locator(".verdict").inner_text()
    heat = film.locator(".film-heat")
    assert heat.evaluate("image => image.naturalWidth") > 0
    film.locator("[data-control=heat]").focus()
    tab.keyboard.press("Home")
    assert heat.evaluate("image => getComputedStyle(image).opacity") == "0"
    film.locator("[data-control=width]").focus()
    tab.keyboard.press("PageDown")
    assert float(film.locator("feFuncR").get_attribute("slope")) > 1
    # By mouse: a file that is chosen, and one that is dropped.
    tab.set_input_files("#films", [given("text.png", b"no film"), given("d.png", drawn.example(3))])
    films = visitor.films(3)
    assert "neither PNG, JPEG nor DICOM" in films.nth(1).inner_text()
    tab.evaluate(
        """() => {
          const data = new DataTransfer();
          data.items.add(new File(["no film"], "<b>dropped.dcm"));
          document.getElementById("drop").dispatchEvent(
            new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
        }"""
    )
    assert visitor.films(4).first.locator("h2").inner_text() == "<b>dropped.dcm"
    # What is too large is not even sent.
    large = "() => Object.defineProperty(File.prototype, 'size', {value: 5e8})"
    tab.evaluate(large)
    tab.set_input_files("#films", [given("large.dcm", b"large")])
    assert "larger than the 64 MB" in visitor.films(5).first.inner_text()
    assert sum("/film?" in url for url in visitor.asked) == 4
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    # The card is one click away; a film can be taken off.
    tab.get_by_role("button", name="Remove").first.click()
    visitor.films(4)
    assert all(url.startswith(f"http://127.0.0.1:{drawn.server_port}/") or url[:5] in
               ("data:", "blob:") for url in visitor.asked)  # fmt: skip
    assert visitor.faults == []
    visitor.context.close()


@needs_browser
def test_the_prevalence_slider_says_what_the_command_would(chromium, server):
    visitor = Visitor(chromium[0], server, 1440)
    tab = visitor.tab
    tab.set_input_files("#films", [given("film.png", png())])
    film = visitor.films(1).first
    rows = film.locator("[data-with]")
    assert rows.count() == 13  # Hernia has no threshold
    before = rows.all_text_contents()
    cuts = {"sensitivity": 0.8, "specificity": 0.8}
    slider = film.locator("[data-control=prevalence]")
    for share in (0.001, 0.05, 0.3, 0.5):
        slider.evaluate(
            "(one, share) => { one.value = PREVALENCES.indexOf(share);"
            " one.dispatchEvent(new Event('input')); }",
            share,
        )
        for text in rows.all_text_contents():
            words = thresholding.in_words(cuts, "above the threshold" in text, share)
            assert words.replace(" %", "\xa0%") in text
    slider.focus()
    tab.keyboard.press("Home")
    assert rows.all_text_contents() == before
    film.get_by_role("button", name="Model card").click()
    assert "AUROC 0.7" in tab.locator("details.card").inner_text()
    assert visitor.faults == []
    visitor.context.close()


@needs_browser
def test_a_report_is_downloaded_and_opens_offline(chromium, server, tmp_path):
    visitor = Visitor(chromium[0], server, 1440)
    visitor.tab.set_input_files("#films", [given("film.png", png())])
    film = visitor.films(1).first
    with visitor.tab.expect_download() as coming:
        film.get_by_role("button", name="Download report").click()
    assert coming.value.suggested_filename == "film-report.html"
    coming.value.save_as(tmp_path / "report.html")
    shown = film.locator("data").evaluate_all("all => all.map(one => one.value)")
    visitor.context.close()
    context = chromium[0].new_context(offline=True)
    tab, asked = context.new_page(), []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto((tmp_path / "report.html").as_uri())
    assert tab.locator("data").evaluate_all("all => all.map(one => one.value)") == shown
    assert tab.locator(".film-picture").evaluate("image => image.naturalWidth") == 200
    assert "not a medical device" in tab.locator(".verdict").inner_text()
    assert tab.locator("details.card").count() == 1
    assert all(url.startswith(("file:", "data:")) for url in asked)
    context.close()


@needs_browser
def test_a_second_visitor_sees_nothing_and_nothing_is_left(chromium, server):
    opened, folder = chromium
    content = png(seed=77)
    marks = (content[60:120], b"a-film-of-nobody")
    first = Visitor(opened, server, 1440)
    first.tab.set_input_files("#films", [given("a-film-of-nobody.png", content)])
    first.films(1)

    def left():
        """Files below the browser's folder that hold the film, or its name."""
        for path in folder.rglob("*"):
            with contextlib.suppress(OSError):
                if path.is_file() and any(mark in path.read_bytes() for mark in marks):
                    yield path

    assert list(left()) == []
    second = Visitor(opened, server, 1440)
    assert second.tab.locator(".film").count() == 0
    assert "a-film-of-nobody" not in second.tab.content()
    second.context.close()
    first.tab.reload()
    assert first.tab.locator(".film").count() == 0
    first.context.close()
    assert list(left()) == []


@pytest.mark.parametrize(
    "request_",
    [b"GET http://[/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
     b"POST http://[/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://[\r\n\r\n"],
)  # fmt: skip
def test_an_address_that_is_none_is_refused_without_a_traceback(drawn, request_, capsys):
    answer, _ = raw(drawn, request_)
    assert " 400 " in answer.partition("\r\n")[0] and "no address" in answer
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("place", [{"port": 70_000}, {"host": "a..b", "port": 0}])
def test_where_nothing_can_listen_is_told(drawn, place):
    with pytest.raises(InputError, match=r"port 70000|nothing can listen"):
        serving.Server(drawn.model, **place)


def test_who_drips_headers_without_the_token_is_cut_off(drawn, monkeypatch):
    monkeypatch.setattr(serving, "UNKNOWN", 0.5)
    with socket.create_connection(("127.0.0.1", drawn.server_port), timeout=10) as made:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() < began + 8:
                made.sendall(b"G")
                time.sleep(0.05)
        assert time.monotonic() < began + 5


def test_uploads_that_drip_hold_no_place_from_others(server, monkeypatch):
    monkeypatch.setattr(serving, "START", 0.3)
    began, ended = time.monotonic(), []

    def drip():
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as made:
            made.sendall(post(server, "Content-Length: 1000000"))
            with contextlib.suppress(OSError):
                while time.monotonic() < began + 20:
                    made.sendall(b"x")
                    time.sleep(0.05)
        ended.append(time.monotonic() - began)

    dripping = [threading.Thread(target=drip) for _ in range(serving.MOST_FILMS)]
    for one in dripping:
        one.start()
    time.sleep(0.1)
    status, _, report = ask(server, content=png())
    assert status == 200 and values(report)
    for one in dripping:
        one.join()
    assert max(ended) < 15


def test_silent_connections_give_way_to_visitors(server, monkeypatch):
    monkeypatch.setattr(serving, "BRIEF", 0.1)
    with contextlib.ExitStack() as held:
        for _ in range(serving.MOST_CONNECTIONS):
            made = socket.create_connection(("127.0.0.1", server.server_port), timeout=10)
            held.enter_context(made)
        time.sleep(0.5)
        statuses = [ask(server, content=png())[0] for _ in range(3)]
    # By the rule of before, none would have been let in for ten seconds.
    assert statuses == [200, 200, 200]


def test_a_run_that_is_none_is_named(tmp_path):
    (tmp_path / "one").mkdir()
    for content in ("[]", '{"name": "one"}'):
        (tmp_path / "one" / "config.json").write_text(content)
        for use in (predict.choose, lambda runs: predict.load("one", runs)):
            with pytest.raises(InputError, match=r"config\.json is not what the training wrote"):
                use(tmp_path)
