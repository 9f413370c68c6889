"""A Hugging Face hub on this machine that knows one model, and code that uses it in a fresh process."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.BaseHTTPRequestHandler):
    """`/api/models/<name>` and the files of its one revision; everything else is not found."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path, folder, name = urlsplit(self.path).path, self.server.folder, self.server.name
        self.server.requests.append(path)
        files = {file.name: file.read_bytes() for file in folder.iterdir()}
        entries = [{"type": "file", "path": n, "size": len(content), "oid": "0" * 40} for n, content in files.items()]
        listed = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": file} for file in files]}
        if path.startswith(f"/api/models/{name}/tree/"):
            return self.respond(json.dumps(entries).encode())
        if path in (f"/api/models/{name}", f"/api/models/{name}/revision/main"):
            return self.respond(json.dumps(listed).encode())
        place, _, file = path.rpartition("/")
        if place.startswith(f"/{name}/resolve/") and file in files:
            tag = hashlib.sha256(files[file]).hexdigest()
            return self.respond(files[file], **{"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT})
        return self.respond(b"", 404, **{"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def respond(self, content, status=200, **headers):
        self.send_response(status)
        for header, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(header, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *args):
        pass


@contextmanager
def hub(folder, name):
    """A hub that has the model in `folder` as `name`; its `requests` are the paths of the requests that it got."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.folder, server.name, server.requests = folder, name, []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        server.url = f"http://127.0.0.1:{server.server_port}"
        yield server
        server.shutdown()


def run_with_hub(url, home, code):
    """Standard output of a fresh process whose hub is `url` and whose cache is `home`."""
    environment = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(home), "no_proxy": "127.0.0.1"}
    environment.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout
