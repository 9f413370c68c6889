"""CIFAR-10 fetched by torchvision, from a server on this machine that has an archive in its form."""

import functools
import hashlib
import http.server
import pickle
import shutil
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
from configs import data_module
from torchvision import datasets

from fimo.errors import Unavailable, UserError


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves an archive in CIFAR-10's form: its URL, and the images in it."""
    served = tmp_path / "served"
    folder = served / datasets.CIFAR10.base_folder
    folder.mkdir(parents=True)
    random, md5, images = np.random.default_rng(0), {}, []
    for name in [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch", "batches.meta"]:
        pixels = random.integers(0, 256, (10, 3072), np.uint8)
        entry = (
            {"label_names": list("abcdefghij")} if name == "batches.meta" else {"data": pixels, "labels": [*range(10)]}
        )
        (folder / name).write_bytes(pickle.dumps(entry))
        md5[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
        images.append(pixels.reshape(10, 3, 32, 32))
    path = served / datasets.CIFAR10.filename
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, datasets.CIFAR10.base_folder)
    content = path.read_bytes()
    (served / "truncated.tar.gz").write_bytes(content[: len(content) // 2])
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", hashlib.md5(content).hexdigest())
    for splits in ("train_list", "test_list"):
        monkeypatch.setattr(datasets.CIFAR10, splits, [[n, md5[n]] for n, _ in getattr(datasets.CIFAR10, splits)])
    monkeypatch.setattr(datasets.CIFAR10, "meta", {**datasets.CIFAR10.meta, "md5": md5["batches.meta"]})
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = functools.partial(Handler, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", path, images
        running.shutdown()


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; below /half/ it promises the whole file and sends half of it."""

    def do_GET(self):
        if not self.path.startswith("/half/"):
            return super().do_GET()
        content = (Path(self.directory) / self.path.removeprefix("/half/")).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])

    def log_message(self, *args):
        pass


def fetched(tmp_path, url):
    rows = {"train_rows": None, "test_count": None, "left_out_first": None, "left_out": 3}
    return data_module("cifar10", tmp_path / "data", source={**SOURCE, "url": url}, **rows).load()


SOURCE = {
    "_target_": "fimo.data.image_sources.CIFAR10",
    "folder": "cifar10",
    "page": "https://www.cs.toronto.edu/~kriz/cifar.html",
}


def test_cifar10_is_downloaded_once(server, tmp_path, caplog):
    caplog.set_level("INFO", "fimo")
    url, path, images = server
    data = fetched(tmp_path, f"{url}/{path.name}")
    assert (len(data.train), len(data.test), data.outputs) == (50, 10, 10)
    np.testing.assert_array_equal(data.display("train", 13), images[1][3].transpose(1, 2, 0))
    np.testing.assert_array_equal(data.display("test", 3), images[5][3].transpose(1, 2, 0))
    np.testing.assert_allclose(data.train.inputs.mean((0, 2, 3)), 0, atol=1e-5)
    assert "downloading" in caplog.text
    caplog.clear()
    assert [child.name for child in (tmp_path / "data/cifar10").iterdir()] == ["cifar-10-batches-py"]
    fetched(tmp_path, "http://127.0.0.1:9/nobody-asks")
    assert caplog.text == ""


def test_an_archive_that_a_person_put_there_is_unpacked(server, tmp_path):
    _, path, _ = server
    folder = tmp_path / "data/cifar10"
    folder.mkdir(parents=True)
    (folder / path.name).write_bytes(path.read_bytes()[:1000])
    with pytest.raises(
        UserError, match=r"cifar-10-python.tar.gz is truncated or not CIFAR-10 as published .* remove it"
    ):
        fetched(tmp_path, "http://127.0.0.1:9/nobody")
    shutil.copy(path, folder)
    assert len(fetched(tmp_path, "http://127.0.0.1:9/nobody").train) == 50
    (folder / "cifar-10-batches-py/data_batch_2").write_bytes(b"spoilt")
    with pytest.raises(UserError, match="cifar-10-batches-py is not CIFAR-10 as published .*: remove it"):
        fetched(tmp_path, "http://127.0.0.1:9/nobody")


@pytest.mark.parametrize(
    "place, text",
    [
        ("/truncated.tar.gz", "truncated or another file, by its MD5 sum"),
        ("/half/cifar-10-python.tar.gz", "truncated or another file, by its MD5 sum"),
        ("/nowhere.tar.gz", "404"),
        (None, "Connection refused"),
    ],
)
def test_a_bad_download_leaves_nothing(server, tmp_path, place, text):
    url = "http://127.0.0.1:9/nobody" if place is None else server[0] + place
    with pytest.raises(Unavailable, match=text) as error:
        fetched(tmp_path, url)
    assert "get cifar-10-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html and put it" in str(error.value)
    assert "\n" not in str(error.value) and "cifar10_subset" not in str(error.value)
    assert list((tmp_path / "data/cifar10").iterdir()) == []
