"""A small server that speaks the part of the Hugging Face hub's API that downloads and uploads need, for tests without
a network.

    python hub_server.py DIRECTORY [--port N]

Below DIRECTORY, OWNER/MODEL is a model with the branch `main`, and OWNER/MODEL@BRANCH another branch. `huggingface_hub`
works with it too (HF_ENDPOINT), both ways, which is how it is known to be no invention. Large files are answered as the
hub does: with a redirection to another place, and their SHA-256; they are taken before the commit that names them, the
larger ones in parts.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: Files from this size on are stored apart, and from this size on taken in parts.
LARGE = 1 << 16
IN_PARTS = 1 << 19
PART = 1 << 18


class Hub:
    """The server, what it was asked, and how it misbehaves."""

    def __init__(self, root: Path, port: int = 0) -> None:
        self.root = root
        self.requests: list[str] = []
        #: Models that ask for an agreement; a token opens them.
        self.gated: dict[str, str] = {}
        #: Files that break off after so many bytes, once.
        self.cut: dict[str, int] = {}
        #: The branch of each commit that was made.
        self.commits: list[str] = []
        #: The token that may write.
        self.writer = "hf_writer"
        #: Repositories that were made private.
        self.private: set[str] = set()
        #: Large files that have arrived, by their checksum, and parts of some that have not.
        self.objects: dict[str, bytes] = {}
        self.parts: dict[tuple[str, int], bytes] = {}
        #: How often the bytes of each large file or part have arrived.
        self.arrived: list[str] = []
        #: Large files whose transfer breaks off, so many times, by how their checksum begins.
        self.refuse: dict[str, int] = {}
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

    def branch(self, model: str, revision: str) -> str:
        """The directory of a branch, from its name or its commit."""
        branches = [f"{model}@{revision}", *(f"{model}@{path.name.split('@')[1]}" for path in self.others(model))]
        named = (branch for branch in branches[:1] if (self.root / branch).is_dir())
        by_commit = (branch for branch in branches[1:] if self.commit(branch) == revision)
        return next(named, None) or next(by_commit, model)

    def others(self, model: str) -> list[Path]:
        """The directories of the branches but `main`."""
        owner, name = model.split("/")
        return sorted((self.root / owner).glob(f"{name}@*"))

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

    def do_POST(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        body = self.body()
        if self.headers["Authorization"] != f"Bearer {self.hub.writer}":
            if not path.startswith("/storage-complete/"):
                return self.fail(401, "", True)
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit|branch)/(.+)", path):
            model, what, revision = match.groups()
            if what == "branch":
                return self.make_branch(model, revision)
            if self.refuses(model, revision, True):
                return None
            if what == "preupload":
                return self.preupload(self.hub.branch(model, revision), json.loads(body))
            return self.make_commit(self.hub.branch(model, revision), body)
        if match := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            return self.batch(match[1], json.loads(body))
        if re.fullmatch(r"/[^/]+/[^/]+\.git/info/lfs/verify", path):
            wanted = json.loads(body)
            content = self.hub.objects.get(wanted["oid"])
            if content is None or len(content) != wanted["size"]:
                return self.fail(404, "", True)
            return self.reply({})
        if match := re.fullmatch(r"/storage-complete/([0-9a-f]{64})", path):
            return self.complete(match[1], json.loads(body))
        return self.fail(404, "", True)

    def do_PUT(self) -> None:
        """The place where large files are: on another host, and without a token."""
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        self.hub.leaked += [self.headers["Authorization"]] if self.headers["Authorization"] else []
        match = re.fullmatch(r"/storage-put/([0-9a-f]{64})(?:/(\d+))?", path)
        if not match or "Content-Length" not in self.headers:
            return self.fail(411, "", True)
        oid, number = match[1], int(match[2] or 0)
        for start, times in self.hub.refuse.items():
            # The first part arrives, what follows does not.
            if oid.startswith(start) and times > 0 and number != 1:
                self.hub.refuse[start] = times - 1
                self.rfile.read(1000)
                self.close_connection = True
                self.connection.close()
                return None
        body = self.body()
        self.hub.arrived.append(oid if number == 0 else f"{oid}/{number}")
        tag = hashlib.md5(body).hexdigest()
        if number:
            self.hub.parts[(oid, number)] = body
        elif hashlib.sha256(body).hexdigest() != oid:
            return self.fail(400, "", True)
        else:
            self.hub.objects[oid] = body
        self.send_response(200)
        self.send_header("ETag", f'"{tag}"')
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            content = b""
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def reply(self, value: dict, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def create(self, asked: dict) -> None:
        model = f"{asked['organization']}/{asked['name']}"
        url = f"{self.hub.endpoint}/{model}"
        if (self.hub.root / model).is_dir():
            return self.reply({"error": "You already created this model repo", "url": url}, 409)
        (self.hub.root / model).mkdir(parents=True)
        (self.hub.root / model / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
        if asked.get("private"):
            self.hub.private.add(model)
        return self.reply({"url": url, "name": model, "id": "1"})

    def make_branch(self, model: str, revision: str) -> None:
        if (self.hub.root / f"{model}@{revision}").exists():
            return self.reply({"error": "Reference already exists"}, 409)
        shutil.copytree(self.hub.root / model, self.hub.root / f"{model}@{revision}")
        return self.reply({})

    def preupload(self, model: str, asked: dict) -> None:
        answers = []
        for file in asked["files"]:
            assert len(base64.b64decode(file["sample"])) == min(512, file["size"])
            is_large = file["size"] >= LARGE or file["path"].endswith(".bin")
            answer = {"path": file["path"], "uploadMode": "lfs" if is_large else "regular", "shouldIgnore": False}
            there = self.hub.root / model / file["path"]
            if there.is_file():
                content = there.read_bytes()
                blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content)
                answer["oid"] = hashlib.sha256(content).hexdigest() if is_large else blob.hexdigest()
            answers.append(answer)
        self.reply({"files": answers})

    def batch(self, model: str, asked: dict) -> None:
        assert asked["operation"] == "upload"
        assert asked["hash_algo"] == "sha256"
        objects = []
        for wanted in asked["objects"]:
            oid, size = wanted["oid"], wanted["size"]
            if oid in self.hub.objects:
                objects.append(wanted)
                continue
            put = f"{self.hub.storage}/storage-put/{oid}"
            upload = {"href": put, "header": {}}
            if size >= IN_PARTS and "multipart" in asked["transfers"]:
                numbers = range(1, -(-size // PART) + 1)
                upload = {"href": f"{self.hub.storage}/storage-complete/{oid}", "header": {"chunk_size": str(PART)}}
                upload["header"] |= {str(number): f"{put}/{number}?signature=secret" for number in numbers}
            verify = {"href": f"{self.hub.endpoint}/{model}.git/info/lfs/verify", "header": {}}
            objects.append({**wanted, "actions": {"upload": upload, "verify": verify}})
        self.reply({"transfer": "multipart", "objects": objects})

    def complete(self, oid: str, asked: dict) -> None:
        content = b""
        for number, part in enumerate(asked["parts"], 1):
            assert part["partNumber"] == number
            body = self.hub.parts[(oid, number)]
            assert part["etag"].strip('"') == hashlib.md5(body).hexdigest()
            content += body
        if asked["oid"] != oid or hashlib.sha256(content).hexdigest() != oid:
            return self.fail(400, "", True)
        self.hub.objects[oid] = content
        return self.reply({})

    def make_commit(self, model: str, body: bytes) -> None:
        lines = [json.loads(line) for line in body.splitlines() if line]
        assert lines[0]["key"] == "header"
        assert lines[0]["value"]["summary"]
        parent = lines[0]["value"].get("parentCommit")
        if parent and parent != self.hub.commit(model):
            return self.reply({"error": "A commit has happened since"}, 412)
        root = self.hub.root / model
        for line in lines[1:]:
            value = line["value"]
            path = root / value["path"]
            assert ".." not in path.parts
            if line["key"] == "deletedFile":
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            if line["key"] == "file":
                path.write_bytes(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    return self.reply({"error": f"LFS pointer to a file that was not uploaded: {value['path']}"}, 400)
                path.write_bytes(self.hub.objects[value["oid"]])
        self.hub.commits.append(model)
        commit = self.hub.commit(model)
        url = f"{self.hub.endpoint}/{model}/commit/{commit}"
        return self.reply({"success": True, "commitOid": commit, "commitUrl": url, "hookOutput": ""})

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
        elif model in self.hub.private and self.headers["Authorization"] != f"Bearer {self.hub.writer}":
            self.fail(401, "RepoNotFound", with_body)
        elif self.hub.branch(model, revision) != model:
            return False
        elif revision not in ("main", self.hub.commit(model)):
            self.fail(404, "RevisionNotFound", with_body)
        else:
            return False
        return True

    def describe(self, model: str, revision: str, with_body: bool) -> None:
        if self.refuses(model, revision, with_body):
            return
        branch = self.hub.branch(model, revision)
        siblings = [{"rfilename": file} for file in self.hub.files(branch)]
        body = json.dumps({"id": model, "sha": self.hub.commit(branch), "siblings": siblings}).encode()
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
        branch = self.hub.branch(model, revision)
        path = self.hub.root / branch / file
        if not path.is_file():
            return self.fail(404, "EntryNotFound", with_body)
        content = path.read_bytes()
        headers = {"X-Repo-Commit": self.hub.commit(branch)}
        if len(content) < LARGE and not file.endswith(".bin"):
            blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
            return self.content(path, {**headers, "ETag": f'"{blob}"'}, with_body, file)
        self.send_response(302)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("X-Linked-Etag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("ETag", '"of-the-redirection"')
        self.send_header("Location", f"{self.hub.storage}/storage/{branch}/{file}")
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
