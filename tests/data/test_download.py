"""Downloads, from a server on this machine: the whole file, a truncated one, a wrong one, none."""

import functools
import http.server
import os
import threading
from pathlib import Path

import pytest
from configs import DATA, data_module, needs_data

from fimo.errors import Unavailable

pytestmark = needs_data
FILE = "energy/ENB2012_data.xlsx"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; below /truncated/ it promises the whole file and sends half of it."""

    def do_GET(self):
        if not self.path.startswith("/truncated/"):
            return super().do_GET()
        content = (Path(self.directory) / self.path.removeprefix("/truncated/")).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])
        self.wfile.flush()
        self.connection.close()

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    handler = functools.partial(Handler, directory=DATA)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def load(tmp_path, url):
    return data_module("energy", tmp_path, f"data.source.url={url}").load()


def left_behind(tmp_path):
    return [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_file_is_downloaded_once(server, tmp_path, caplog):
    caplog.set_level("INFO", "fimo")
    assert len(load(tmp_path, f"{server}/{FILE}").train) == 691
    assert f"downloading {server}/{FILE}" in caplog.text
    caplog.clear()
    assert (tmp_path / FILE).read_bytes() == (Path(DATA) / FILE).read_bytes()
    assert left_behind(tmp_path) == [tmp_path / FILE]
    load(tmp_path, "http://127.0.0.1:9/nobody-asks")
    assert caplog.text == ""


@pytest.mark.parametrize(
    "path, text",
    [
        (f"/truncated/{FILE}", "IncompleteRead"),
        ("/concrete/Concrete_Data.xls", r"lacks the columns \['X1', 'X2'"),
        ("/README.md", "is not an Excel workbook that can be read"),
        ("/nowhere.xlsx", "404"),
    ],
)
def test_a_bad_download_leaves_nothing(server, tmp_path, path, text):
    with pytest.raises(Unavailable, match=text) as error:
        load(tmp_path, server + path)
    assert "get it from https://archive.ics.uci.edu/dataset/242" in str(error.value)
    assert "\n" not in str(error.value)
    assert left_behind(tmp_path) == []


def test_no_server(tmp_path):
    with pytest.raises(Unavailable, match=r"Connection refused.*paths.data_dir or FIMO_DATA_DIR"):
        load(tmp_path, "http://127.0.0.1:9/nobody")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(server, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(Unavailable, match="Permission denied"):
        load(tmp_path, f"{server}/{FILE}")
