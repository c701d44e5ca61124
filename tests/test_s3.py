"""Footage in S3 against footage on disk, with a server of moto on this machine."""

from __future__ import annotations

import http.server
import json
import os
import pickle
import socket
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer

from pipelines import params
from pipelines.clips import video
from pipelines.clips.images import write_png
from pipelines.clips.ingest import Ingest
from pipelines.clips.layouts import reds, testsets, vimeo90k
from pipelines.clips.layouts.clips import SourceClip
from pipelines.clips.layouts.published import Promise, Shape
from pipelines.clips.places import Bucket, Folder, Place, find
from pipelines.clips.readers import list_clips
from pipelines.clips.store import ClipAttributes, ClipWriter
from pipelines.errors import VSRError

SECRET = "notToBeShown0123456789"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's own AWS set-up."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


@pytest.fixture
def s3(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client beside the one that is tested, and an empty bucket `footage`."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    client = boto3.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket="footage")
    yield client
    tell(f"{endpoint}/moto-api/reset")


def tell(address: str, body: str = "") -> None:
    """Ask moto's own interface for something."""
    urllib.request.urlopen(urllib.request.Request(address, body.encode(), {"Content-Type": "text/plain"}, method="POST"))


def upload(s3: Any, folder: Path, prefix: str) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            s3.put_object(Bucket="footage", Key=f"{prefix}/{path.relative_to(folder).as_posix()}", Body=path.read_bytes())


def rgb(seed: int, height: int = 16, width: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def footage(kind: str, source: str | Path) -> params.Footage:
    return params.Footage.model_validate({"kind": kind, "source": str(source), "split": "test"})


def ingested(clips: list[SourceClip], folder: Path) -> dict[str, tuple[ClipAttributes, str]]:
    """What ingest writes of each clip, by the hash of its pixels, from workers that got it pickled."""
    found = {}
    for clip in pickle.loads(pickle.dumps(clips)):
        with ClipWriter(folder, clip.name) as writer:
            for value in Ingest()(clip):
                if isinstance(value, ClipAttributes):
                    finished = writer.finish(value)
                    found[clip.name] = (finished.attributes, finished.sha256)
                else:
                    for frame in value:
                        writer.append(frame)
    return found


# ---------------------------------------------------------------- the same as from disk


def test_frames_and_videos_are_what_they_are_on_disk(s3: Any, tmp_path: Path) -> None:
    for name, numbers in (("sea", (8, 9, 10)), ("alps", (1, 2))):
        (tmp_path / "frames" / name).mkdir(parents=True)
        for number in numbers:
            write_png(tmp_path / f"frames/{name}/{number}.png", rgb(number))
    (tmp_path / "frames/notes.txt").write_text("x")
    video.encode([rgb(t, 32, 48) for t in range(5)], tmp_path / "videos/b.mp4", 30000 / 1001)
    video.encode([rgb(t) for t in range(3)], tmp_path / "videos/A c.mkv", 24)
    upload(s3, tmp_path, "a/b")
    s3.put_object(Bucket="footage", Key="a/b/frames/")  # what some tools leave for a folder
    before = set(os.listdir(tempfile.gettempdir()))
    for kind in ("frames", "videos"):
        on_disk = list_clips(footage(kind, tmp_path / kind), Path("/"))
        in_s3 = list_clips(footage(kind, f"s3://footage/a/b/{kind}/"), Path("/"))
        assert [(c.name, c.split, c.source, c.fps) for c in in_s3] == [(c.name, c.split, c.source, c.fps) for c in on_disk]
        assert ingested(in_s3, tmp_path / f"s3-{kind}") == ingested(on_disk, tmp_path / f"disk-{kind}")
    assert not [name for name in set(os.listdir(tempfile.gettempdir())) - before if name.startswith("vsr-s3")]


def test_published_layouts_are_what_they_are_on_disk(s3: Any, tmp_path: Path) -> None:
    promise = Promise("Vid4", {"city": Shape(3, 16, 24), "walk": Shape(2, 16, 24)})
    for path in ("GT/city/0.png", "GT/city/1.png", "GT/city/2.png", "GT/walk/0.png", "GT/walk/1.png", "BIx4/city/0.png"):
        (tmp_path / "vid4" / path).parent.mkdir(parents=True, exist_ok=True)
        write_png(tmp_path / "vid4" / path, rgb(len(path)))
    small = vimeo90k.Promise(train=1, test=2, motion={"fast": 1}, shape=Shape(7, 16, 24))
    for key in ("00001/0001", "00001/0002", "00007/0001"):
        (tmp_path / "vimeo/sequences" / key).mkdir(parents=True)
        for number in range(1, 8):
            write_png(tmp_path / f"vimeo/sequences/{key}/im{number}.png", rgb(number))
    for name, text in (
        ("sep_trainlist", "00001/0002"),
        ("sep_testlist", "00001/0001\n00007/0001"),
        ("fast_testset", "00007/0001"),
    ):
        (tmp_path / f"vimeo/{name}.txt").write_text(text)
    upload(s3, tmp_path / "vid4", "vid4")
    upload(s3, tmp_path / "vimeo", "vimeo")
    test_set = params.TestSet(kind="vid4", source="x")
    septuplets = params.Vimeo90k(kind="vimeo90k", source="x")
    places: list[tuple[Place, Place]] = [
        (Folder(tmp_path / "vid4"), Bucket("footage", "vid4")),
        (Folder(tmp_path / "vimeo"), Bucket("footage", "vimeo")),
    ]
    first = [ingested(testsets.clips(test_set, place, promise), tmp_path / str(i)) for i, place in enumerate(places[0])]
    second = [ingested(vimeo90k.clips(septuplets, place, small), tmp_path / f"v{i}") for i, place in enumerate(places[1])]
    assert first[0] == first[1] and set(first[0]) == {"city", "walk"}
    assert second[0] == second[1] and second[0]["00007_0001"][0].parameters == {"motion": "fast"}
    with pytest.raises(VSRError, match="REDS in s3://footage/reds lacks the clips"):
        s3.put_object(Bucket="footage", Key="reds/train/train_sharp/000/00000000.png", Body=b"x")
        reds.clips(params.Reds(kind="reds", source="x", partition="reds4"), Bucket("footage", "reds"))


def test_more_keys_than_one_page_holds(s3: Any) -> None:
    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]  # of the server, which runs in this process: 1,203 requests take longer
    for index in range(1203):
        backend.put_object("footage", f"many/clip{index % 3}/{index}.png", b"")
    tree = Bucket("footage", "many").tree()
    assert {name: len(files) for name, files in tree.items()} == {"clip0": 401, "clip1": 401, "clip2": 401}
    assert tree["clip2"] == [f"{index}.png" for index in range(2, 1203, 3)]
    entries = Bucket("footage", "many").entries()
    assert (entries.folders, entries.files) == (["clip0", "clip1", "clip2"], [])


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.text("ab 01é%+.", min_size=1, max_size=4), st.text("ab 01é&", min_size=1, max_size=4)),
        min_size=1,
        max_size=5,
        unique=True,
    ).filter(lambda keys: not {folder for folder, _ in keys} & {".", ".."})
)
def test_a_bucket_lists_as_a_folder(s3: Any, tmp_path_factory: pytest.TempPathFactory, keys: list[tuple[str, str]]) -> None:
    root = tmp_path_factory.mktemp("listed")
    prefix = f"listed/{root.name}"
    for folder, file in keys:
        (root / folder).mkdir(exist_ok=True)
        (root / folder / file).write_bytes(file.encode())
        s3.put_object(Bucket="footage", Key=f"{prefix}/{folder}/{file}", Body=file.encode())
    on_disk, in_s3 = Folder(root), Bucket("footage", prefix)
    assert in_s3.tree() == on_disk.tree() and in_s3.entries() == on_disk.entries()
    folder, file = keys[0]
    assert (in_s3 / folder).read(file) == file.encode() and (in_s3 / folder).head(file, 1) == file.encode()[:1]


def test_an_empty_object(s3: Any) -> None:
    s3.put_object(Bucket="footage", Key="clips/a/0.png", Body=b"")
    assert (Bucket("footage", "clips") / "a").head("0.png", 33) == b""
    with pytest.raises(VSRError, match="s3://footage/clips/a/0.png is damaged or cut short"):
        list_clips(footage("frames", "s3://footage/clips"), Path("/"))


def test_a_damaged_video_is_named_by_its_object(s3: Any) -> None:
    s3.put_object(Bucket="footage", Key="v/sea.mp4", Body=b"\0" * 100)
    (clip,) = list_clips(footage("videos", "s3://footage/v"), Path("/"))
    with pytest.raises(VSRError, match="^s3://footage/v/sea.mp4 is damaged"):
        list(Ingest()(clip))


@pytest.mark.parametrize("key", ["clips/../../etc/x.png", "clips//etc/x.png", "clips/a/./x.png", "clips/.."])
def test_keys_that_lead_out_are_refused(s3: Any, key: str) -> None:
    s3.put_object(Bucket="footage", Key=key, Body=b"x")
    with pytest.raises(VSRError, match="s3://footage/clips has a key .* which is no path in it: rename or remove"):
        list_clips(footage("frames", "s3://footage/clips"), Path("/"))


# ---------------------------------------------------------------- what cannot be reached


def fault(source: str, message: str) -> str:
    with pytest.raises(VSRError, match=message) as caught:
        list_clips(footage("frames", source), Path("/"))
    text = str(caught.value)
    assert SECRET not in text and "\n" not in text and "Traceback" not in text
    return text


def test_missing_buckets_and_prefixes(s3: Any) -> None:
    fault("s3://foutage/clips", "s3://foutage/clips cannot be read: http://127.0.0.1:.* has no bucket 'foutage': check its name")
    fault("s3://footage/nothing", "s3://footage/nothing has no objects: check the bucket and the prefix")
    fault("s3:///clips", "names no bucket: write it as `s3://bucket/prefix`")
    fault("s3://No Bucket/clips", "s3://No Bucket/clips cannot be read, the S3 settings are not valid")
    with pytest.raises(VSRError, match=r"s3://footage/gone\.png cannot be read: it is not there any more"):
        Bucket("footage").read("gone.png")
    assert not Bucket("footage", "nothing").exists()


def test_a_bucket_without_permission(s3: Any, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """moto checks IAM's policies once it is told to."""
    s3.put_object(Bucket="footage", Key="clips/a/0.png", Body=b"x")
    iam = boto3.client("iam", region_name="us-east-1")
    keys = {}
    for user, actions in (("nobody", ["s3:ListAllMyBuckets"]), ("lister", ["s3:ListBucket"])):
        iam.create_user(UserName=user)
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
        iam.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=json.dumps(policy))
        keys[user] = iam.create_access_key(UserName=user)["AccessKey"]

    tell(f"{endpoint}/moto-api/reset-auth", "0")
    try:
        for user, where in (("nobody", "s3://footage/clips"), ("lister", "s3://footage/clips/a/0.png")):
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys[user]["AccessKeyId"])
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys[user]["SecretAccessKey"])
            text = fault(
                "s3://footage/clips", f"^{where} cannot be read: .* no permission for the bucket 'footage' .AccessDenied."
            )
            assert "grant s3:ListBucket and s3:GetObject" in text and keys[user]["SecretAccessKey"] not in text
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAUNKNOWN")
        assert "AKIAUNKNOWN" not in fault("s3://footage/clips", "does not accept the credentials .InvalidAccessKeyId.")
    finally:
        tell(f"{endpoint}/moto-api/reset-auth", "inf")


def test_no_credentials(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    fault("s3://footage/clips", "s3://footage/clips cannot be read without credentials: set AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_PROFILE", "nowhere")
    fault("s3://footage/clips", "the S3 settings are not valid .ProfileNotFound.: check")


def test_endpoints_that_do_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{listening.getsockname()[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://me:{SECRET}@{closed}")
    fault("s3://footage/clips", f"s3://footage/clips cannot be read, http://{closed} does not answer .*AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "no address")
    fault("s3://footage/clips", "the S3 settings are not valid")


class Odd(http.server.BaseHTTPRequestHandler):
    """What is no S3: answers 200 with a page, or breaks off, by the bucket's name."""

    broken = 0

    def do_GET(self) -> None:
        body = b"<html>welcome</html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.path.startswith("/broken") and Odd.broken:
            Odd.broken -= 1
            self.wfile.write(body[:5])
            self.close_connection = True
        else:
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    yield
    server.shutdown()
    server.server_close()


def test_what_is_no_s3_is_told_from_it(odd: None) -> None:
    fault("s3://page/clips", "s3://page/clips")


def test_reading_that_breaks_off_is_tried_again(odd: None) -> None:
    Odd.broken = 2
    assert Bucket("broken").read("a.bin") == b"<html>welcome</html>"
    Odd.broken = 3
    with pytest.raises(VSRError, match=r"s3://broken/a\.bin cannot be read, http://127.* does not answer"):
        Bucket("broken").read("a.bin")


def test_sources_of_params(tmp_path: Path) -> None:
    assert find("s3://b/c/d/", tmp_path) == Bucket("b", "c/d") and find("s3://b", tmp_path) == Bucket("b")
    assert find("clips", tmp_path) == Folder(tmp_path / "clips") and find("/abs", tmp_path) == Folder(Path("/abs"))
    assert [str(Bucket("b")), str(Bucket("b") / "c" / "d"), Bucket("b") / "c"] == ["s3://b", "s3://b/c/d", Bucket("b", "c")]
