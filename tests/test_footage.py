"""What the command line takes and gives."""

from __future__ import annotations

import errno
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pipelines.clips import footage as module
from pipelines.clips import video
from pipelines.clips.footage import Writing, check_destination, open_source, write_like
from pipelines.clips.images import read_picture, write_png
from pipelines.errors import VSRError

PNG = Writing(lossless=True)


def drift(count: int = 5, height: int = 32, width: int = 48) -> list[np.ndarray]:
    y, x = np.mgrid[:height, :width]
    return [np.stack([(3 * x + 9 * t) % 256, (5 * y) % 256, 0 * x + 20 * t], -1).astype(np.uint8) for t in range(count)]


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A folder of a video and a frame folder."""
    video.encode(drift(), tmp_path / "many/film.mkv", Fraction(24000, 1001))
    (tmp_path / "many/photos").mkdir()
    for index, frame in enumerate(drift(3)):
        write_png(tmp_path / f"many/photos/im{index + 8}.png", frame)
    return tmp_path / "many"


def test_a_folder_of_clips(many: Path) -> None:
    clips = open_source(many)
    film, photos = clips["film"], clips["photos"]
    assert (film.kind, film.size, film.count, film.fps, film.alone) == ("video", (32, 48), 5, Fraction(24000, 1001), False)
    assert (photos.kind, photos.size, photos.count, photos.fps, photos.rate) == ("frames", (32, 48), 3, None, 25)
    assert all((a == b).all() for a, b in zip(photos.frames(), drift(3), strict=True))
    assert sum(1 for _ in film.frames()) == 5


def test_a_clip_alone(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_source(many / "film.mkv")["film"].alone
    assert list(open_source(many / "photos")) == ["photos"]
    monkeypatch.chdir(many / "photos")
    assert list(open_source(Path("."))) == ["photos"]


def test_frames_keep_their_names(many: Path, tmp_path: Path) -> None:
    photos = open_source(many / "photos")["photos"]
    written, _ = write_like(tmp_path / "new/out", photos, (frame[::2, ::2] for frame in photos.frames()))
    assert written == tmp_path / "new/out"
    assert sorted(path.name for path in written.iterdir()) == ["im10.png", "im8.png", "im9.png"]
    assert (read_picture(written / "im10.png") == drift(3)[2][::2, ::2]).all()


def test_folders_and_videos_keep_their_kind(many: Path, tmp_path: Path) -> None:
    clips = open_source(many)
    check_destination(tmp_path / "out", clips)
    for clip in clips.values():
        write_like(tmp_path / "out", clip, clip.frames())
    again = open_source(tmp_path / "out")
    assert {name: (clip.kind, clip.count, clip.fps) for name, clip in again.items()} == {
        name: (clip.kind, clip.count, clip.fps) for name, clip in clips.items()
    }
    assert (tmp_path / "out/film.mkv").is_file()


def test_lossless_means_png(many: Path, tmp_path: Path) -> None:
    film = open_source(many / "film.mkv")["film"]
    frames = list(film.frames())
    write_like(tmp_path / "out", film, frames, writing=PNG)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{i:08d}.png" for i in range(5)]
    assert (read_picture(tmp_path / "out/00000004.png") == frames[4]).all()
    write_like(tmp_path / "named.mp4", film, frames, writing=PNG)
    assert video.probe(tmp_path / "named.mp4").frames == 5


def test_a_video_into_a_folder_stays_a_video(many: Path, tmp_path: Path) -> None:
    film = open_source(many / "film.mkv")["film"]
    assert write_like(tmp_path / "out", film, film.frames())[0] == tmp_path / "out/film.mkv"


def test_frames_into_a_named_video(many: Path, tmp_path: Path) -> None:
    photos = open_source(many / "photos")["photos"]
    write_like(tmp_path / "out.mp4", photos, photos.frames())
    info = video.probe(tmp_path / "out.mp4")
    assert (info.frames, info.fps) == (3, 25)


def test_nothing_is_overwritten(many: Path, tmp_path: Path) -> None:
    clips = open_source(many)
    for target in ("out/film.mkv", "other/photos/x.png"):
        (tmp_path / target).parent.mkdir(parents=True)
        (tmp_path / target).write_text("mine")
        with pytest.raises(VSRError, match="already exists: remove it"):
            check_destination((tmp_path / target.split("/")[0]), clips)
    with pytest.raises(VSRError, match="already exists"):
        write_like(many, clips["film"], [])
    with pytest.raises(VSRError, match="names one video but the source is a folder"):
        check_destination(tmp_path / "all.mp4", clips)
    with pytest.raises(VSRError, match="names one image"):
        check_destination(tmp_path / "all.png", clips)


def test_nothing_half_written_stays(many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = open_source(many / "photos")["photos"]

    def failing():  # type: ignore[no-untyped-def]
        yield drift()[0]
        raise RuntimeError("network failed")

    (tmp_path / "new").mkdir()
    with pytest.raises(RuntimeError, match="network failed"):
        write_like(tmp_path / "new/out", photos, failing())
    with pytest.raises(VSRError, match="2 frames came out of it, not 3"):
        write_like(tmp_path / "new/out", photos, drift(2))
    with pytest.raises(VSRError, match="4 frames came out of it, not 3"):
        write_like(tmp_path / "new/out", photos, drift(4))

    def full(path: Path, frame: np.ndarray) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_png", full)
    with pytest.raises(VSRError, match="No space left on device.*free some space"):
        write_like(tmp_path / "new/out", photos, drift(3))
    assert not list((tmp_path / "new").iterdir())


def test_bad_sources(many: Path, tmp_path: Path) -> None:
    def fault(path: Path, message: str) -> None:
        with pytest.raises(VSRError, match=message):
            open_source(path)

    fault(tmp_path / "nope", "nope does not exist")
    (tmp_path / "empty").mkdir()
    fault(tmp_path / "empty", "empty has neither")
    (many / "notes.txt").write_text("x")
    fault(many / "notes.txt", "not a video file by its name")
    write_png(many / "stray1.png", drift()[0])
    fault(many, "stray1.png, beside videos or folders")
    (many / "stray1.png").unlink()
    data = (many / "film.mkv").read_bytes()
    (many / "film.mkv").write_bytes(data[: len(data) // 2])
    fault(many, r"film\.mkv is damaged or cut short")
    (many / "film.mkv").unlink()
    write_png(many / "photos/im9.png", drift(1, 20, 20)[0])
    fault(many, r"im9\.png is 20x20 but im8\.png is 48x32")


def test_sound_goes_along(tmp_path: Path, shared_data: Path) -> None:
    source = open_source(shared_data / "video/01_dog.mp4")["01_dog"]
    assert source.has_audio
    few = (frame for _, frame in zip(range(6), source.frames(), strict=False))
    write_like(tmp_path / "out.mp4", source, (frame[::4, ::4] for frame in few), range(6))
    out = open_source(tmp_path / "out.mp4")["out"]
    assert out.has_audio and out.fps == source.fps and out.size == (180, 320)
