"""Weights by name: local folder, cache, download; nothing unverified is used and nothing half done is left."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines import weights
from pipelines.errors import VSRError
from pipelines.weights import REGISTRY, Weights, resolve

CONTENT = bytes(range(256)) * 5000


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Publisher(http.server.BaseHTTPRequestHandler):
    """Serves `CONTENT`; under `/short/` the connection breaks off in the middle."""

    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/none/"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) // 2] if self.path.startswith("/short/") else CONTENT)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def publisher() -> Iterator[str]:
    Publisher.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Publisher) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("VSR_WEIGHTS", raising=False)
    return tmp_path / "cache" / "vsr"


def publish(monkeypatch: pytest.MonkeyPatch, url: str, digest: str = sha256(CONTENT), **more: object) -> None:
    monkeypatch.setitem(REGISTRY, "toy", Weights(url + "/", {"toy.pth": digest}, "MIT", **more))  # type: ignore[arg-type]


@pytest.mark.parametrize("digits", [8, 64])
def test_downloads_once_and_keeps_it(publisher: str, cache: Path, monkeypatch: pytest.MonkeyPatch, digits: int) -> None:
    publish(monkeypatch, publisher, sha256(CONTENT)[:digits])
    assert resolve("toy") == cache / "toy.pth"
    assert (cache / "toy.pth").read_bytes() == CONTENT
    assert weights.digest(resolve("toy")) == sha256(CONTENT)
    assert Publisher.asked == ["/toy.pth"]
    assert [path.name for path in cache.iterdir()] == ["toy.pth"]


@pytest.mark.parametrize(
    ("folder", "digest", "sentence"),
    [
        ("", "0" * 64, "is not the published toy"),
        ("/short", sha256(CONTENT), "broke off after 640000 of 1280000 bytes"),
        ("/none", sha256(CONTENT), "HTTP 404"),
    ],
)
def test_a_bad_download_leaves_nothing(
    publisher: str, cache: Path, monkeypatch: pytest.MonkeyPatch, folder: str, digest: str, sentence: str
) -> None:
    publish(monkeypatch, publisher + folder, digest)
    with pytest.raises(VSRError, match=sentence):
        resolve("toy")
    assert list(cache.iterdir()) == []


def test_a_download_cut_by_the_user_leaves_nothing(publisher: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(descriptor: int, chunk: bytes) -> int:
        raise KeyboardInterrupt

    publish(monkeypatch, publisher)
    monkeypatch.setattr(weights.os, "write", stop)
    with pytest.raises(KeyboardInterrupt):
        resolve("toy")
    assert list(cache.iterdir()) == []


def test_the_local_folder_comes_first(publisher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = b"the same network under other names"
    publish(monkeypatch, publisher, ports={"toy_port.pth": sha256(port)})
    monkeypatch.setenv("VSR_WEIGHTS", str(tmp_path))
    (tmp_path / "toy_port.pth").write_bytes(port)
    assert resolve("toy") == tmp_path / "toy_port.pth"
    (tmp_path / "toy.pth").write_bytes(CONTENT)
    assert resolve("toy") == tmp_path / "toy.pth"
    assert Publisher.asked == []
    (tmp_path / "toy.pth").write_bytes(CONTENT[:-1])
    with pytest.raises(VSRError, match=r"toy\.pth is not the published toy"):
        resolve("toy")


def test_a_folder_of_files(publisher: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"config.json": None, "model.safetensors": sha256(CONTENT)}
    monkeypatch.setitem(REGISTRY, "toy", Weights(publisher + "/", files, "MIT", folder=True))
    monkeypatch.setenv("VSR_WEIGHTS", str(tmp_path))
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "config.json").touch()  # not whole: not used
    assert resolve("toy") == cache / "toy"
    assert weights.digest(cache / "toy") == sha256(CONTENT)
    (tmp_path / "toy" / "model.safetensors").write_bytes(CONTENT)
    assert resolve("toy") == tmp_path / "toy"
    assert sorted(Publisher.asked) == ["/config.json", "/model.safetensors"]


def test_without_a_network_it_says_where_and_what_to_do(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, "http://127.0.0.1:9")  # the discard port: nobody listens
    monkeypatch.setenv("VSR_WEIGHTS", str(tmp_path))
    with pytest.raises(VSRError) as told:
        resolve("toy")
    for part in ("'toy'", str(tmp_path), str(cache), "http://127.0.0.1:9/toy.pth", "curl -LO", "VSR_WEIGHTS"):
        assert part in str(told.value)


def test_bad_names_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VSRError, match="did you mean 'raft_small'"):
        resolve("raft_smal")
    monkeypatch.setenv("VSR_WEIGHTS", str(tmp_path / "nowhere"))
    with pytest.raises(VSRError, match="is not a folder"):
        resolve("raft_small")


def test_a_path_is_a_folder_of_ones_own(publisher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights.params, "ROOT", tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "mine" / "sam"
    folder.mkdir(parents=True)
    for file in ("config.json", "model.safetensors"):
        (folder / file).write_bytes(CONTENT)
    for name in ("mine/sam", "./mine/sam", "~/mine/sam", str(folder)):
        assert resolve(name).resolve() == folder and weights.digest(resolve(name)) == sha256(CONTENT)
    assert Publisher.asked == []
    assert not weights.is_folder("sam_vit_b")


def test_a_folder_that_is_not_one_of_transformers_is_told(tmp_path: Path) -> None:
    with pytest.raises(VSRError, match="nowhere is not there: give a folder with config.json"):
        resolve(str(tmp_path / "nowhere"))
    (tmp_path / "sam.safetensors").touch()
    with pytest.raises(VSRError, match="is a file: give a folder"):
        resolve(str(tmp_path / "sam.safetensors"))
    folder = tmp_path / "sam"
    folder.mkdir()
    with pytest.raises(VSRError, match=r"has no config.json and no model.safetensors: .* `save_pretrained`"):
        resolve(str(folder))
    (folder / "config.json").write_text("{}")
    with pytest.raises(VSRError, match=r"sam has no model.safetensors"):
        resolve(str(folder))
    (folder / "pytorch_model.bin").touch()
    with pytest.raises(VSRError, match=r"has pytorch_model.bin but no model.safetensors: pickled files can run code"):
        resolve(str(folder))
    (folder / "model.safetensors").touch()
    sam = {"points_per_side": 8, "pred_iou_threshold": 0.88, "stability_threshold": 0.95, "nms_threshold": 0.7}
    model = weights.params.Sam(backend="sam", weights=str(folder), max_masks=64, batch=64, **sam)  # type: ignore[arg-type]
    for content in ("{}", "not JSON", "[]"):
        (folder / "config.json").write_text(content)
        with pytest.raises(VSRError, match="does not name its model_type"):
            weights.provenance(model)


def test_the_registry_agrees_with_the_publishers_names() -> None:
    """Publishers that put the first digits of the sha256 in the file's name: they must be those registered."""
    from torchvision.models.optical_flow import Raft_Large_Weights, Raft_Small_Weights

    for published in REGISTRY.values():
        for file, digest in published.files.items():
            if file.endswith(".pth"):
                assert digest is not None and digest.startswith(file[-12:-4])
    for name, official in {"raft_small": Raft_Small_Weights.DEFAULT, "raft_large": Raft_Large_Weights.DEFAULT}.items():
        (file,) = REGISTRY[name].files
        assert REGISTRY[name].url + file == official.url


def test_published_networks_say_what_they_were_trained_on() -> None:
    recipes = weights.params.load().recipes
    known = {name: published.trained_on for name, published in REGISTRY.items() if published.trained_on}
    assert set(known) == {"basicvsr_reds4", "basicvsr_vimeo90k_bi", "basicvsr_vimeo90k_bd"}
    for name, trained in known.items():
        corpus, _, degradation = trained.partition("/")
        assert corpus in ("reds", "vimeo90k") and name.startswith(f"basicvsr_{corpus}") and degradation in recipes


def test_shared_raft(shared_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (shared_weights / "raft_small_torchvision.pth").exists():
        pytest.skip("needs raft_small_torchvision.pth")
    monkeypatch.setenv("VSR_WEIGHTS", str(shared_weights))
    assert resolve("raft_small").name == "raft_small_torchvision.pth"
