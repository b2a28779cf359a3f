"""``slat export --push`` with the real client of the hub; a server on this machine answers in the hub's place, with the
answers of its HTTP interface, and writes down what it is sent."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import transformers as hf
import yaml
from click.testing import CliRunner, Result

from slat_search.cli import main
from slat_search.models.backbone import Backbone
from slat_search.training.context import Context
from tests.export.folders import retold, saved, with_model
from tests.export.test_classes import bert

NAME = "someone/headlines"


class Hub(ThreadingHTTPServer):
    """Attributes:
    requests: method and path of each.
    files: path -> content, of all commits.
    created: what it was asked to create.
    refuse: status that it answers with, or 0.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.requests: list[str] = []
        self.files: dict[str, bytes] = {}
        self.created: dict[str, Any] = {}
        self.refuse = 0
        self.is_public_already = False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answers(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *arguments: object) -> None:
        pass

    def _answer(self, value: Any, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.server.requests.append(f"GET {self.path}")
        private = self.server.created.get("visibility") == "private" and not self.server.is_public_already
        self._answer({"id": NAME, "private": private, "sha": "0" * 40, "siblings": [], "tags": [], "downloads": 0})

    def do_POST(self) -> None:
        self.server.requests.append(f"POST {self.path}")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.refuse:
            self._answer({"error": "no"}, self.server.refuse)
        elif self.path == "/api/repos/create":
            self.server.created = json.loads(body)
            self._answer({"url": f"{self.server.address}/{NAME}"}, 409 if self.server.is_public_already else 200)
        elif self.path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            self._answer(
                {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
            )
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self._answer(
                {"success": True, "commitOid": "0" * 40, "commitUrl": f"{self.server.address}/{NAME}/commit/0"}
            )
        else:
            self._answer({"error": f"unknown {self.path}"}, 404)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.address)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def folder(context: Context, minilm: Backbone, tmp_path: Path) -> Path:
    model = with_model(bert, minilm.tokenizer, tmp_path / "model")
    (tmp_path / "model" / "README.md").write_text("---\nlicense: mit\n---\n")
    return retold(saved(context, model, tmp_path / "adapter", "lora", name=str(tmp_path / "model")), pooling="first")


def pushed(folder: Path, out: Path, *options: str, name: str = NAME) -> Result:
    return CliRunner().invoke(main, ["export", str(folder), "--out", str(out), "--push", name, *options])


def test_the_whole_folder_is_there_and_loads(hub: Hub, folder: Path, tmp_path: Path) -> None:
    result = pushed(folder, tmp_path / "out", "--private")
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith(f"pushed: {hub.address}/{NAME}\n")
    assert hub.created == {**hub.created, "name": "headlines", "organization": "someone"}
    assert hub.created["visibility"] == "private"
    local = {str(p.relative_to(tmp_path / "out")): p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert hub.files == local
    assert {"README.md", "model.safetensors", "config.json", "tokenizer.json"} <= set(local)
    for path, content in hub.files.items():
        (tmp_path / "received" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "received" / path).write_bytes(content)
    hf.pipeline("text-classification", model=str(tmp_path / "received"))(["a text"])
    front = yaml.safe_load(re.findall(r"^---\n(.*?)\n---", local["README.md"].decode(), re.DOTALL)[0])
    assert (front["license"], front["library_name"], front["pipeline_tag"]) == (
        "mit",
        "transformers",
        "text-classification",
    )
    assert "base_model" not in front  # a folder of this machine means nothing to others
    assert str(tmp_path) not in local["README.md"].decode()


REFUSED = [
    (401, "the hub does not accept the token"),
    (403, "the token may not write there"),
    (500, "the hub says 500"),
]


@pytest.mark.parametrize(("status", "why"), REFUSED)
def test_what_the_hub_refuses_is_one_sentence(hub: Hub, folder: Path, tmp_path: Path, status: int, why: str) -> None:
    hub.refuse = status
    result = pushed(folder, tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: --push: {NAME}: {why}")
    assert f"the export itself is whole in {tmp_path / 'out'}" in result.stderr
    assert (tmp_path / "out" / "README.md").is_file()
    assert not hub.files


def test_nothing_is_sent_before_the_export_is_whole(
    hub: Hub, folder: Path, context: Context, minilm: Backbone, tmp_path: Path
) -> None:
    result = pushed(folder, tmp_path / "out", "--task-type", "CAUSAL_LM")
    assert result.exit_code == 2
    assert "generates no text" in result.stderr
    assert not hub.requests
    assert not (tmp_path / "out").exists()


def test_a_public_repository_gets_nothing_that_is_private(hub: Hub, folder: Path, tmp_path: Path) -> None:
    hub.is_public_already = True
    result = pushed(folder, tmp_path / "out", "--private")
    assert "is there already, and public" in result.stderr
    assert not hub.files


def test_an_adapter_whose_base_others_do_not_have_is_kept_here(hub: Hub, folder: Path, tmp_path: Path) -> None:
    result = pushed(folder, tmp_path / "out", "--format", "peft")
    assert result.exit_code == 2
    assert "is a folder that others do not have; export it with `--format merged`" in result.stderr
    assert not hub.requests


def test_without_a_network_a_token_or_a_name(
    hub: Hub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, why in (
        ("headlines", "has no owner"),
        ("a/b/c", "is no name on the"),
        ("some one/x", "is no name on the"),
    ):
        result = pushed(folder, tmp_path / "out", name=name)
        assert result.exit_code == 2
        assert f"--push: {name!r} {why}" in result.stderr
        assert not (tmp_path / "out").exists()
    result = CliRunner().invoke(main, ["export", str(folder), "--out", str(tmp_path / "out"), "--private"])
    assert "--private: belongs to --push" in result.stderr
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    assert "no token of the Hugging Face hub is here" in pushed(folder, tmp_path / "out").stderr
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")  # where nothing listens
    result = pushed(folder, tmp_path / "out")
    assert result.exit_code == 2
    assert "--push: the Hugging Face hub cannot be reached (" in result.stderr
    assert (tmp_path / "out" / "README.md").is_file()
    assert not hub.requests
