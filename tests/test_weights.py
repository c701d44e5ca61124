"""Weights by name: local folder, cache, download; nothing unverified is used and nothing half done is left."""

from __future__ import annotations

import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import models
from models.parts.weights import prefix
from pipelines import params, weights
from pipelines.errors import VSRError
from pipelines.report import published
from pipelines.report.sources import TEST_SETS
from pipelines.weights import REGISTRY, Weights, checkpoint, download, resolve
from pipelines.weights.registry import of_networks

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
        ("/short", sha256(CONTENT), "640000 bytes read, 640000 more expected"),
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
    class Cut(download.HTTPDownloader):  # type: ignore[misc]
        def __call__(self, url: str, output_file: str, pooch: object, check_only: bool = False) -> None:
            Path(output_file).write_bytes(CONTENT[:100])
            raise KeyboardInterrupt

    publish(monkeypatch, publisher)
    monkeypatch.setattr(download, "HTTPDownloader", Cut)
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
    for part in ("'toy'", str(tmp_path), str(cache), "curl -L -o toy.pth 'http://127.0.0.1:9/toy.pth'", "refused", "VSR_WEIGHTS"):
        assert part in str(told.value)


def test_bad_names_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VSRError, match="did you mean 'raft_small'"):
        resolve("raft_smal")
    monkeypatch.setenv("VSR_WEIGHTS", str(tmp_path / "nowhere"))
    with pytest.raises(VSRError, match="is not a folder"):
        resolve("raft_small")


def test_a_path_is_a_folder_of_ones_own(publisher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(params, "ROOT", tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "mine" / "sam"
    folder.mkdir(parents=True)
    for file in ("config.json", "model.safetensors"):
        (folder / file).write_bytes(CONTENT)
    for name in ("mine/sam", "./mine/sam", "~/mine/sam", str(folder)):
        assert resolve(name).resolve() == folder and weights.digest(resolve(name)) == sha256(CONTENT)
    assert Publisher.asked == []
    assert not weights.is_path("sam_vit_b")


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
    sam = {
        "points_per_side": 8,
        "masks_per_point": 3,
        "pred_iou_threshold": 0.88,
        "stability_threshold": 0.95,
        "nms_threshold": 0.7,
    }
    model = params.Sam(backend="sam", weights=str(folder), max_masks=64, batch=64, **sam)  # type: ignore[arg-type]
    for content in ("{}", "not JSON", "[]"):
        (folder / "config.json").write_text(content)
        with pytest.raises(VSRError, match="does not name its model_type"):
            weights.provenance(model)


def test_a_file_of_ones_own_is_what_params_yaml_says(publisher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(params, "ROOT", tmp_path)
    (tmp_path / "mine.pth").write_bytes(CONTENT)
    assert checkpoint("./mine.pth", sha256(CONTENT)[:8]) == tmp_path / "mine.pth"
    assert checkpoint(str(tmp_path / "mine.pth")) == tmp_path / "mine.pth"
    with pytest.raises(
        VSRError, match=f"sha256 of .*mine.pth is {sha256(CONTENT)}, and params.yaml says 00000000: write the new one"
    ):
        checkpoint("./mine.pth", "00000000")
    with pytest.raises(VSRError, match="there is no file .*yours.pth: give that of a checkpoint"):
        checkpoint("./yours.pth")
    publish(monkeypatch, publisher)
    assert checkpoint("toy").read_bytes() == CONTENT
    with pytest.raises(VSRError, match="weights 'sam_vit_b' are those of a prior: choose a network's"):
        checkpoint("sam_vit_b")
    found = weights.recorded("sub/mine.pth", tmp_path / "mine.pth")
    assert found == {"weights": "./mine.pth", "weights_sha256": sha256(CONTENT)}
    assert weights.described("sub/mine.pth") == "parameters of the file mine.pth"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"weights": "./mine.pth"}, "weights './mine.pth' are a file: add its `sha256`, which `sha256sum ./mine.pth` prints"),
        ({"weights": "basicvsr_reds4", "sha256": "0e599677"}, "`sha256` goes with the path of a file"),
        ({"sha256": "0e599677"}, "`sha256` goes with the path of a file"),
        ({"weights": "./mine.pth", "sha256": "0e59"}, "should match pattern"),
    ],
)
def test_a_file_comes_with_its_sha256(given: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        params.Baseline.model_validate({**params.load().baselines["bicubic"].model_dump(exclude_none=True), **given})
    with pytest.raises(ValueError, match=sentence):
        params.Start(network="spynet", corpus="reds", **given)  # type: ignore[arg-type]


def test_the_registry_agrees_with_the_publishers_names() -> None:
    """Publishers that put the first digits of the sha256 in the file's name: they must be those registered."""
    from torchvision.models.optical_flow import Raft_Large_Weights, Raft_Small_Weights

    for known in map(weights.find, [*REGISTRY, *of_networks()]):
        for file, digest in known.files.items():
            in_a_repository = known.url.startswith("https://github.com/") and digest is not None and len(digest) == 64
            if in_a_repository:
                continue
            assert known.address(file).endswith(f"/{file}") or known.url.startswith("https://drive.google.com/")
            if file.endswith(".pth"):
                assert digest is not None
                in_name = re.fullmatch("[0-9a-f]{8}", prefix(file))
                assert digest.startswith(prefix(file)) if in_name else len(digest) == 64
    for name, official in {"raft_small": Raft_Small_Weights.DEFAULT, "raft_large": Raft_Large_Weights.DEFAULT}.items():
        (file,) = REGISTRY[name].files
        assert REGISTRY[name].address(file) == official.url


def test_what_networks_say_of_their_published_parameters() -> None:
    """It can be found by its name, is of a network that can be made, trained on what is known here, and says what its papers say."""
    recipes, own = params.load().recipes, of_networks()
    assert not own.keys() & REGISTRY.keys()
    published = {"basicvsr", "basicvsr_plusplus", "edvr_l", "edvr_m", "iconvsr", "rdg_s", "safmn", "smfanet", "spynet"}
    published |= {"realbasicvsr", "realesr_animevideo", "realesr_general", "realesrgan"}
    assert published == {_network(name) for name in own}
    for name, known in own.items():
        found = weights.find(name)
        assert (found.files, found.trained_on, found.differs) == ({known.file: known.sha256}, known.trained_on, known.differs)
        with torch.device("meta"):
            network = models.create(_network(name), **known.options)
        if not network.restores:
            assert known.trained_on is None and not known.reported
            continue
        if known.trained_on is None:  # not known
            assert known.differs and not known.reported
            continue
        corpus, _, degradation = known.trained_on.partition("/")
        assert corpus in ("reds", "vimeo90k", "df2k", "rdg") and name.startswith(f"{network.name}_{corpus}")
        assert degradation in recipes or (corpus, degradation) == ("rdg", params.RENDERED)
        for pair in known.reported:
            test_set, _, under = pair.partition("/")
            assert test_set in TEST_SETS and under == degradation


def _network(name: str) -> str:
    """The network whose name the name of published weights begins with."""
    return max((network for network in models.names() if name.startswith(f"{network}_")), key=len)


def test_what_is_reported_is_what_papers_print() -> None:
    """A file's own figures are within 0.15 dB and 0.002 of the papers' tables, under the protocol that they are given for."""
    papers = {
        (figure.method, figure.corpus, figure.degradation, figure.channel, figure.metric): figure.value
        for figure in published.load()
        if figure.source in ("dcgu", "seem") and not (figure.variant or figure.clip or figure.doubt)
    }
    compared = 0
    for name, known in of_networks().items():
        for pair, metrics in known.reported.items():
            test_set, _, degradation = pair.partition("/")
            if known.differs or known.trained_on != f"{'reds' if test_set == 'reds4' else 'vimeo90k'}/{degradation}":
                continue
            channel = "rgb" if test_set == "reds4" else "y"
            for metric, within in (("psnr", 0.15), ("ssim", 0.002)):
                printed = papers.get((_network(name), test_set, degradation, channel, metric))
                if printed is not None:
                    assert metrics[metric] == pytest.approx(printed, abs=within), (name, pair)
                    compared += 1
    assert compared >= 12


def test_the_documentation_lists_them() -> None:
    lines = (params.ROOT / "docs" / "methods.md").read_text().splitlines()
    own = of_networks()
    for name, known in own.items():
        (row,) = (line for line in lines if line.startswith("|") and f"`{name}`" in line)
        for column, test_set in zip(row.split("|")[3:6], ("reds4", "vid4", "udm10"), strict=True):
            found = [scores for pair, scores in known.reported.items() if pair.startswith(f"{test_set}/")]
            assert column.strip() == "".join(f"{scores['psnr']:.2f} / {scores['ssim']:.4f}" for scores in found), name
        for option in known.options:
            assert f"{option}:" in row


def test_shared_raft(shared_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (shared_weights / "raft_small_torchvision.pth").exists():
        pytest.skip("needs raft_small_torchvision.pth")
    monkeypatch.setenv("VSR_WEIGHTS", str(shared_weights))
    assert resolve("raft_small").name == "raft_small_torchvision.pth"
