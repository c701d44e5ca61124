"""A video made again with other pixels, and nothing else of it changed.

The picture is coded in parts of `PART` frames, each of which begins with a key frame and stays when the work is interrupted. When
all are there they are joined without being coded again, with the times that the source's frames have; sound, subtitles, chapters,
attachments and tags of the source go beside them. What came out is opened and held against the source before it gets its name.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import ffmpeg
import numpy as np

from pipelines.clips.video.encoding import HDR, Coding, codec_name, encode_part
from pipelines.clips.video.facts import Light, Sound, VideoInfo, probe
from pipelines.clips.video.process import capture, damaged, find_binary, reason_of, url
from pipelines.errors import VSRError

PART = 240
"""Frames of a part."""

_MP4 = {".mp4", ".m4v"}
_MOV = {".mp4", ".m4v", ".mov"}
_PLAYED = {"aac", "ac3", "alac", "eac3", "flac", "mp2", "mp3", "opus"}
"""Sound that players take from an MP4; what it holds beside these becomes AAC."""
_LAYERS = {"mp1": "MPEG audio", "mp2": "MPEG audio", "mp3": "MPEG audio"}
"""What an MP4 does not tell apart."""
_TEXT = {"ass", "ssa", "srt", "subrip", "mov_text", "webvtt", "text"}


@dataclass(frozen=True)
class Track:
    """What becomes of a sound or subtitle track: `copy`, an encoder, or None with a reason."""

    codec: str
    becomes: str | None
    why: str = ""


@dataclass(frozen=True)
class Plan:
    """What a film is made of and into, settled before the work; `notes` says what will be other than in the source."""

    source: Path
    info: VideoInfo
    coding: Coding
    size: tuple[int, int]
    sound: tuple[Track, ...]
    subtitles: tuple[Track, ...]
    notes: tuple[str, ...]

    @property
    def audible(self) -> list[str]:
        """The codecs of the sound that is left."""
        return [track.codec if track.becomes == "copy" else track.becomes for track in self.sound if track.becomes]

    @property
    def read(self) -> list[str]:
        """The codecs of the subtitles that are left."""
        return [track.codec if track.becomes == "copy" else track.becomes for track in self.subtitles if track.becomes]


def plan(source: Path, info: VideoInfo, target: Path, how: Coding, size: tuple[int, int], silent: bool = False) -> Plan:
    """Settle what a film is made into.

    Args:
        source: the video; `info` is of it.
        target: what is written, by whose suffix tracks are copied, converted or left out.
        how: see `encoding.coding`.
        size: (height, width) of the new frames.
        silent: leave all sound out.

    Raises:
        VSRError: frames of that size cannot be coded so.
    """
    how.check_size(size, f"{target.name} ({codec_name(how.codec)})")
    suffix = target.suffix.lower()
    how = replace(how, aspect=_aspect(info, size))
    sound = tuple(
        Track(track.codec, None, "") if silent else _sound(source, index, track, suffix) for index, track in enumerate(info.sound)
    )
    subtitles = tuple(_subtitles(source, index, codec, suffix) for index, codec in enumerate(info.sides.subtitles))
    notes = ["its transparency is left out"] if info.alpha else []
    if how.matrix != info.matrix and not (info.rgb or info.grey) and how.matrix != "gbr":
        notes.append(f"its colours name no matrix and are read by their size as {how.matrix}, which the new video names")
    if info.rgb and how.matrix != "gbr":
        notes.append(f"RGB becomes {how.pixels} ({how.matrix}): --codec ffv1 into a .mkv keeps it")
    elif "444" in info.pixels and "420" in how.pixels:
        notes.append(f"chroma of {info.pixels} becomes {how.pixels}: --codec ffv1 into a .mkv keeps it")
    if info.depth > how.depth:
        notes.append(f"{info.depth} bits per colour become {how.depth}")
    if info.light != Light() and how.codec not in HDR:
        notes.append(f"{codec_name(how.codec)} holds no mastering display and light levels of HDR: they are left out")
    if how.aspect != info.pixel_aspect:
        notes.append(f"pixels of {info.pixel_aspect} become {how.aspect}, so that the picture keeps its shape")
    for kind, tracks in (("sound track", sound), ("subtitles", subtitles)):
        for number, track in enumerate(tracks, start=1):
            if track.becomes is None:
                notes.append(f"{kind} {number} ({track.codec}) is left out" + (f": {track.why}" if track.why else ""))
            elif track.becomes != "copy":
                notes.append(f"{kind} {number} becomes {track.becomes} of {track.codec}, which {suffix} does not hold")
    if info.sides.attachments and suffix != ".mkv":
        notes.append(f"{info.sides.attachments} attachments are left out, which {suffix} does not hold: .mkv does")
    return Plan(source, info, how, size, sound, subtitles, tuple(notes))


def notes_of(info: VideoInfo) -> list[str]:
    """What is to be said of a source before the work."""
    found = []
    start, end = info.lost
    if start:
        found.append(
            f"{start} frames at its start cannot be decoded (the recording begins within a group of pictures) and are left out"
        )
    if end:
        found.append(f"{end} frames at its end cannot be decoded (the recording was cut) and are left out")
    if info.repeats is not None:
        found.append(f"{int(info.repeats.sum()) - len(info.repeats)} dropped frames repeat the frame before")
    if info.variable:
        found.append(f"its frame rate varies ({float(info.fps):.3f} per second on average): every frame keeps its own time")
    return found


def remake(
    made: Plan,
    target: Path,
    frames: Callable[[int], Iterable[np.ndarray]],
    identity: object = None,
    said: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Write the film.

    Args:
        made: see `plan`.
        target: the file; it appears when it is complete and was held against the source.
        frames: gives the new frames from the given one on: (H, W, 3) RGB, uint8, or uint16 where the coding is deep.
        identity: what the frames depend on (JSON values): parts that were made of others are made again.
        said: takes lines for the user.

    Returns:
        What was held against the source, and what is other on purpose (JSON values).

    Raises:
        VSRError: there are more or fewer frames than the source has, the disk is full, or what came out differs from the source.
    """
    info = made.info
    target.parent.mkdir(parents=True, exist_ok=True)
    work = target.with_name(f".{target.name}.parts")
    partial = target.with_name(f".{target.stem}.{os.getpid()}.partial{target.suffix}")
    suffix = ".mov" if made.coding.codec == "prores" else ".mkv"
    expected = [work / f"{index:06d}{suffix}" for index in range(-(-info.frames // PART))]
    _begin(work, made, identity)
    done = len(list(itertools.takewhile(Path.exists, expected)))
    if done:
        said(f"goes on after frame {min(done * PART, info.frames)} of {info.frames}, which an interrupted run has made")
    try:
        if done < len(expected):
            _parts(made, frames(done * PART), expected, done, target)
        picture = work / f"picture{'.mkv' if target.suffix.lower() == '.mkv' else '.mov'}"
        _join(expected, picture, made)
        _finish(picture, partial, made)
        report = certify(made, partial, target)
        os.replace(partial, target)
    except BaseException as error:
        useless = isinstance(error, VSRError) and "disk is full" not in str(error)  # made again, it would be the same
        if useless or not any(part.exists() for part in expected):
            shutil.rmtree(work, ignore_errors=True)
        else:
            for file in work.iterdir():
                if file not in expected and file.name != "made.json":
                    file.unlink()
        raise
    finally:
        partial.unlink(missing_ok=True)
    shutil.rmtree(work, ignore_errors=True)
    return report


# ---------------------------------------------------------------- the picture


def _begin(work: Path, made: Plan, identity: object) -> None:
    """The folder of the parts; what others than these made is removed."""
    stat = made.source.stat()
    key = {
        "source": [made.source.name, stat.st_size, stat.st_mtime_ns],
        "coding": repr(made.coding),
        "size": list(made.size),
        "ffmpeg": find_binary(),
        "identity": identity,
    }
    said = json.dumps(key, sort_keys=True, default=str)
    record = work / "made.json"
    if not record.exists() or record.read_text() != said:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        record.write_text(said)


def _parts(made: Plan, frames: Iterable[np.ndarray], parts: Sequence[Path], done: int, target: Path) -> None:
    """Code the frames from that of part `done` on."""
    info = made.info
    iterator = iter(frames)
    try:
        for index in range(done, len(parts)):
            wanted = min(PART, info.frames - index * PART)
            partial = parts[index].with_name(f"partial{parts[index].suffix}")
            count = encode_part(itertools.islice(iterator, wanted), partial, info.fps, made.coding, target.name, g=PART)
            if count != wanted:
                raise _miscounted(made, index * PART + count)
            os.replace(partial, parts[index])
        if next(iterator, None) is not None:
            raise _miscounted(made, info.frames + 1)
    finally:
        if hasattr(iterator, "close"):
            iterator.close()


def _miscounted(made: Plan, count: int) -> VSRError:
    more = "more than " if count > made.info.frames else ""
    count = min(count, made.info.frames)
    return VSRError(
        f"{made.source}: {more}{count} frames came out of it, not {made.info.frames}: run again, and report it if it stays."
    )


def timescale(info: VideoInfo) -> int:
    """Units of a second that times are written in: every frame of a steady rate is at a whole one."""
    if info.variable:
        return 90000
    scale = info.fps.numerator
    while scale < 10000:
        scale *= 2
    return scale


def _join(parts: Sequence[Path], picture: Path, made: Plan) -> None:
    """All parts as one stream, whose first frame is at 0 and the others where those of the source are.

    A frame is decoded before it is shown by as many frames as the coder reorders: decoding times are the times of the frames that
    many before, which rise and are never after those of showing.
    """
    scale = timescale(made.info)
    times = made.info.times()
    ticks = [round((time - times[0]) * scale) for time in times]
    ranks: list[int] = []  # of every packet's frame, among all in the order shown
    for part in parts:
        with av.open(url(part)) as file:
            shown = [packet.pts or 0 for packet in file.demux(file.streams.video[0]) if packet.size]
        order, before = {pts: rank for rank, pts in enumerate(sorted(shown))}, len(ranks)
        ranks += [before + order[pts] for pts in shown]
    if len(ranks) != len(ticks):
        raise damaged(picture, f"it has {len(ranks)} frames of {len(ticks)}")
    delay = max(position - rank for position, rank in enumerate(ranks))
    step = ticks[1] - ticks[0] if len(ticks) > 1 else round(scale / made.info.fps)
    options = {} if picture.suffix == ".mkv" else {"video_track_timescale": str(scale)}
    with av.open(url(picture), "w", options=options) as out:
        stream: Any = None
        position = 0
        for part in parts:
            with av.open(url(part)) as file:
                source = file.streams.video[0]
                if stream is None:
                    stream = out.add_stream_from_template(source, opaque=True)  # no coder is needed
                    stream.time_base = Fraction(1, scale)
                    stream.metadata.clear()
                for packet in file.demux(source):
                    if not packet.size:
                        continue
                    rank, before = ranks[position], position - delay
                    packet.stream = stream
                    packet.time_base = Fraction(1, scale)
                    packet.pts = ticks[rank]
                    packet.dts = ticks[before] if before >= 0 else before * step
                    packet.duration = (ticks[rank + 1] if rank + 1 < len(ticks) else ticks[rank] + step) - ticks[rank]
                    out.mux(packet)
                    position += 1


# ---------------------------------------------------------------- what stands beside it


def _aspect(info: VideoInfo, size: tuple[int, int]) -> Fraction:
    """The pixels of frames of that size, so that the picture keeps its shape; those of the source where it does but for rounding."""
    across, down = Fraction(size[1], info.width), Fraction(size[0], info.height)
    if abs(across - down) * min(info.width, info.height) <= 1:
        return info.pixel_aspect
    return (info.pixel_aspect * down / across).limit_denominator(1000)


def _sound(source: Path, index: int, track: Sound, suffix: str) -> Track:
    held = track.codec in _PLAYED if suffix in _MP4 else _copies(source, f"a:{index}", suffix)
    if held:
        return Track(track.codec, "copy")
    if track.decodable:
        return Track(track.codec, "aac")
    return Track(track.codec, None, f"ffmpeg cannot decode it, and {suffix} does not hold it")


def _subtitles(source: Path, index: int, codec: str, suffix: str) -> Track:
    if suffix in _MOV:
        if codec in _TEXT:
            return Track(codec, "copy" if codec == "mov_text" else "mov_text")
        return Track(codec, None, f"they are pictures, which {suffix} does not hold: .mkv does")
    if codec == "mov_text":
        return Track(codec, "subrip")
    return Track(codec, "copy") if _copies(source, f"s:{index}", suffix) else Track(codec, None, f"{suffix} does not hold them")


def _copies(source: Path, stream: str, suffix: str) -> bool:
    """Whether a container holds a track as it is: tried with its first second."""
    form = "matroska" if suffix == ".mkv" else "mov"
    track = ffmpeg.input(url(source), protocol_whitelist="file,pipe", t=1)[stream]
    output = ffmpeg.output(
        track, "pipe:", format=form, c="copy", **({} if form == "matroska" else {"movflags": "+frag_keyframe+empty_moov"})
    )
    return capture([find_binary(), "-hide_banner", "-v", "error", "-y", *output.get_args()]).returncode == 0


def _finish(picture: Path, target: Path, made: Plan) -> None:
    """Picture, sound and the rest as one file."""
    info, suffix = made.info, target.suffix.lower()
    start = {"itsoffset": f"{float(info.start):.6f}"} if info.start and made.audible else {}
    inputs = [ffmpeg.input(url(picture), **start)["v:0"]]
    source = ffmpeg.input(url(made.source), protocol_whitelist="file,pipe")
    options: dict[str, Any] = {"c": "copy", "map_metadata": 1, "map_chapters": 1, "fflags": "+bitexact", "flags:a": "+bitexact"}
    for kind, tracks in (("a", made.sound), ("s", made.subtitles)):
        kept = [(index, track) for index, track in enumerate(tracks) if track.becomes]
        for number, (index, track) in enumerate(kept):
            inputs.append(source[f"{kind}:{index}"])
            options[f"c:{kind}:{number}"] = track.becomes
            if track.becomes == "aac":
                options[f"b:a:{number}"] = "256k"
    if info.sides.attachments and suffix == ".mkv":
        inputs.append(source["t?"])
    if suffix in _MOV:
        options |= {"movflags": "+faststart", "video_track_timescale": timescale(info)}
        if made.coding.codec == "hevc":
            options["tag:v"] = "hvc1"
    arguments = ["-hide_banner", "-v", "error", "-y"]
    if len(inputs) == 1:  # of which only chapters and tags are taken
        arguments += ["-i", url(picture), "-i", url(made.source), "-map", "0:v:0"]
        for key, value in options.items():
            arguments += [f"-{key}", str(value)]
        arguments.append(url(target))
    else:
        arguments += ffmpeg.output(*inputs, url(target), **options).get_args()
    done = capture([find_binary(), "-nostdin", *arguments])
    message = done.stderr.decode(errors="replace")
    if "No space left on device" in message:
        raise VSRError(f"{target} cannot be written, the disk is full: free some space and run again.")
    if done.returncode:
        raise VSRError(f"{target} failed, ffmpeg says: {reason_of(message)}.")


# ---------------------------------------------------------------- held against the source


def certify(made: Plan, file: Path, target: Path) -> dict[str, Any]:
    """Hold what came out against the source.

    Args:
        made: what it should be.
        file: what came out.
        target: what it will be called.

    Returns:
        What was compared and what is other on purpose.

    Raises:
        VSRError: something else differs.
    """
    info, how = made.info, made.coding
    found = probe(file)
    wrong: list[str] = []

    def same(what: str, is_now: object, should: object) -> None:
        if is_now != should:
            wrong.append(f"{what} is {is_now}, not {should}")

    same("the number of frames", found.frames, info.frames)
    same("the size", (found.height, found.width), made.size)
    same("the aspect of a pixel", found.pixel_aspect, how.aspect)
    same("the matrix", found.matrix, how.matrix)
    same("the range", found.range or "tv", how.range or "tv")
    if how.codec != "ffv1":
        same("the primaries", found.primaries, how.primaries)
        same("the transfer", found.transfer, how.transfer)
    same("the depth", found.depth, how.depth)
    if how.codec in HDR:
        same("the content's light level", found.light.content, info.light.content)
        shown, wanted = (light.display or () for light in (found.light, info.light))
        if len(shown) != len(wanted) or any(abs(a - b) > Fraction(1, 5000) for a, b in zip(shown, wanted, strict=True)):
            wrong.append("the mastering display is another")
    same("the sound", [_LAYERS.get(name, name) for name in found.audio], [_LAYERS.get(name, name) for name in made.audible])
    same("the subtitles", list(found.sides.subtitles), made.read)
    same("the number of chapters", found.sides.chapters, info.sides.chapters)
    if target.suffix.lower() == ".mkv":
        same("the number of attachments", found.sides.attachments, info.sides.attachments)
    for key, value in info.sides.tags:
        if key in ("title", "creation_time"):
            same(f"the tag {key}", dict(found.sides.tags).get(key), value)
    away = Fraction(0)
    if found.frames == info.frames:
        ours, theirs = found.times(), info.times()
        # A file starts where its first sound or picture does. That of converted sound may be elsewhere: then its clock tells. Without
        # sound nothing says when a picture starts but itself.
        shifts = [Fraction(0), found.origin] if made.audible else [theirs[0] - ours[0]]
        away = min(max(abs(a + shift - b) for a, b in zip(ours, theirs, strict=True)) for shift in shifts)
        if away > Fraction(1, 1000) + _half_tick(found):
            wrong.append(f"a frame is {float(away) * 1000:.1f} ms from its time")
    tracks = [track for track, becomes in zip(info.sound, made.sound, strict=True) if becomes.becomes == "copy"]
    if len(tracks) == len(found.sound):
        for number, (new, old) in enumerate(zip(found.sound, tracks, strict=True), start=1):
            off = abs(new.start - old.start)
            if off > Fraction(1, 1000) + _half_tick(found):
                wrong.append(f"sound track {number} starts {float(off) * 1000:.1f} ms off")
    if wrong:
        raise VSRError(
            f"{target} would not be its source in another size ({'; '.join(wrong)}) and is not left: report it, and give another container or codec."
        )
    return {
        "source": {"file": made.source.name, "codec": info.codec, "pixels": info.pixels, "size": f"{info.width}x{info.height}"},
        "target": {"file": target.name, "codec": found.codec, "pixels": found.pixels, "size": f"{found.width}x{found.height}"},
        "frames": found.frames,
        "fps": str(info.fps),
        "variable": info.variable,
        "start": float(info.start),
        "furthest_ms": round(float(away) * 1000, 3),
        "sound": made.audible,
        "subtitles": made.read,
        "chapters": info.sides.chapters,
        "on_purpose": [*notes_of(info), *made.notes],
    }


def _half_tick(info: VideoInfo) -> Fraction:
    return info.base / 2
