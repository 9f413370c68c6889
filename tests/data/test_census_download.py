"""Downloads of people, from a server on this machine: the whole archive, wrong ones, none."""

import functools
import http.server
import io
import threading
import zipfile
from pathlib import Path

import pytest
from configs import DATA, config, needs_data
from hydra.utils import instantiate

from fimo.errors import Unavailable

pytestmark = needs_data
FOLDER = "folktables/2018/1-Year"
NE = f"{FOLDER}/psam_p31.csv"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


class Handler(http.server.SimpleHTTPRequestHandler):
    """Archives as the Census Bureau has them: `/whole/2018/1-Year/csv_pne.zip` and variants of it that are wrong."""

    def do_GET(self):
        kind, _, name = self.path[1:].partition("/")
        if kind == "nowhere" or name != "2018/1-Year/csv_pne.zip":
            return self.send_error(404)
        content = archive({"other-state": "psam_p25.csv"}.get(kind, "psam_p31.csv"), kind)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if kind == "truncated" else content)

    def log_message(self, *args):
        pass


@functools.cache
def archive(name, kind):
    text = (Path(DATA) / FOLDER / name).read_text()
    if kind == "page":
        return b"<html>Sorry, this page has moved</html>"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("ACS2018_PUMS_README.pdf", "about these files")
        opened.writestr({"other-member": "psam_p08.csv"}.get(kind, "psam_p31.csv"), {"empty": ""}.get(kind, text))
    content = bytearray(buffer.getvalue())
    if kind == "damaged":
        content[len(content) // 2] ^= 255
    return bytes(content)


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def fetched(tmp_path, address):
    url = f"data.source.url='{address}/{{year}}/{{horizon}}/csv_p{{state}}.zip'"
    cfg = config("data=folktables", "data.source.states=[NE]", url)
    return instantiate(cfg.data.source, _convert_="all").read(tmp_path)


def left_behind(tmp_path):
    return [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_file_is_downloaded_once(server, tmp_path, caplog):
    caplog.set_level("INFO", "fimo")
    assert len(fetched(tmp_path, f"{server}/whole").targets) == 10785
    assert f"downloading {server}/whole/2018/1-Year/csv_pne.zip" in caplog.text
    caplog.clear()
    assert left_behind(tmp_path) == [tmp_path / NE]
    assert (tmp_path / NE).read_bytes() == (Path(DATA) / NE).read_bytes()
    assert len(fetched(tmp_path, "http://127.0.0.1:9").targets) == 10785
    assert caplog.text == ""


@pytest.mark.parametrize(
    "kind, text",
    [
        ("truncated", "IncompleteRead"),
        ("damaged", "is not a ZIP archive with psam_p31.csv in it"),
        ("page", "is not a ZIP archive with psam_p31.csv in it"),
        ("other-member", "is not a ZIP archive with psam_p31.csv in it"),
        ("other-state", r"must hold people of NE \(ST 31\), found another state's"),
        ("empty", "is not a table of people"),
        ("nowhere", "404"),
    ],
)
def test_a_bad_download_leaves_nothing(server, tmp_path, kind, text):
    with pytest.raises(Unavailable, match=text) as error:
        fetched(tmp_path, f"{server}/{kind}")
    assert "get it from https://www.census.gov/" in str(error.value) and "\n" not in str(error.value)
    assert left_behind(tmp_path) == []


def test_no_server(tmp_path):
    with pytest.raises(Unavailable, match=r"Connection refused.*paths.data_dir or FIMO_DATA_DIR"):
        fetched(tmp_path, "http://127.0.0.1:9")
