"""A small server that speaks the part of the Hugging Face hub's API that downloads need, for tests without a network.

    python hub_server.py DIRECTORY [--port N]

Below DIRECTORY, OWNER/MODEL is a model with one revision. `huggingface_hub` works with it too (HF_ENDPOINT), which is
how it is known to be no invention. Large files are answered as the hub does: with a redirection to another place, and
their SHA-256.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: Files from this size on are stored apart.
LARGE = 1 << 16


class Hub:
    """The server, what it was asked, and how it misbehaves."""

    def __init__(self, root: Path, port: int = 0) -> None:
        self.root = root
        self.requests: list[str] = []
        #: Models that ask for an agreement; a token opens them.
        self.gated: dict[str, str] = {}
        #: Files that break off after so many bytes, once.
        self.cut: dict[str, int] = {}
        #: Tokens that were sent to the place where large files are; there should be none.
        self.leaked: list[str] = []
        hub = self

        class Handler(Answers):
            def __init__(self, *arguments) -> None:
                self.hub = hub
                super().__init__(*arguments)

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        # Large files come from another host name, as they do from the hub.
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        self.storage = f"http://localhost:{self.server.server_port}"

    def __enter__(self) -> Hub:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.server.shutdown()
        self.server.server_close()

    def files(self, model: str) -> list[str]:
        root = self.root / model
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())

    def commit(self, model: str) -> str:
        digest = hashlib.sha1(model.encode())
        for file in self.files(model):
            digest.update(file.encode() + (self.root / model / file).read_bytes())
        return digest.hexdigest()


class Answers(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def answer(self, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            return self.describe(match[1], match[2] or "main", with_body)
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self.resolve(match[1], match[2], match[3], with_body)
        if match := re.fullmatch(r"/storage/([^/]+/[^/]+)/(.+)", path):
            self.hub.leaked += [self.headers["Authorization"]] if self.headers["Authorization"] else []
            return self.content(self.hub.root / match[1] / match[2], {}, with_body, match[2])
        return self.fail(404, "", with_body)

    def fail(self, status: int, code: str, with_body: bool) -> None:
        body = json.dumps({"error": code or "not found"}).encode()
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def refuses(self, model: str, revision: str, with_body: bool) -> bool:
        """Whether the model is not to be had; then it was said."""
        if not (self.hub.root / model).is_dir():
            self.fail(401, "RepoNotFound", with_body)
        elif revision not in ("main", self.hub.commit(model)):
            self.fail(404, "RevisionNotFound", with_body)
        else:
            return False
        return True

    def describe(self, model: str, revision: str, with_body: bool) -> None:
        if self.refuses(model, revision, with_body):
            return
        siblings = [{"rfilename": file} for file in self.hub.files(model)]
        body = json.dumps({"id": model, "sha": self.hub.commit(model), "siblings": siblings}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def resolve(self, model: str, revision: str, file: str, with_body: bool) -> None:
        if self.refuses(model, revision, with_body):
            return None
        token = self.hub.gated.get(model)
        if token and self.headers["Authorization"] != f"Bearer {token}":
            return self.fail(403 if self.headers["Authorization"] else 401, "GatedRepo", with_body)
        path = self.hub.root / model / file
        if not path.is_file():
            return self.fail(404, "EntryNotFound", with_body)
        content = path.read_bytes()
        headers = {"X-Repo-Commit": self.hub.commit(model)}
        if len(content) < LARGE:
            blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
            return self.content(path, {**headers, "ETag": f'"{blob}"'}, with_body, file)
        self.send_response(302)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("X-Linked-Etag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("ETag", '"of-the-redirection"')
        self.send_header("Location", f"{self.hub.storage}/storage/{model}/{file}")
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def content(self, path: Path, headers: dict[str, str], with_body: bool, file: str) -> None:
        content = path.read_bytes()
        start = 0
        if asked := re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or ""):
            start = int(asked[1])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if not with_body:
            return
        limit = self.hub.cut.pop(file, None)
        self.wfile.write(content[start:] if limit is None else content[start : start + limit])
        if limit is not None:
            self.close_connection = True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    hub = Hub(arguments.directory, arguments.port)
    print(hub.endpoint, flush=True)
    hub.server.serve_forever()


if __name__ == "__main__":
    main()
