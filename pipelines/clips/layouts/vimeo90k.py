"""The septuplets of Vimeo-90K (Xue et al., IJCV 2019): `sequences/<video>/<septuplet>/im1.png` to `im7.png`.

The publisher's lists split them. Three more lists, which papers use since RBPN (Haris et al., CVPR 2019), sort the
test septuplets by motion; nine of these are in none. Septuplets that neither of the publisher's lists names are not used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipelines import params
from pipelines.clips.layouts.clips import FRAMES_FPS, Frames, SourceClip
from pipelines.clips.layouts.published import Shape, shown
from pipelines.clips.places import Place, at_once
from pipelines.errors import VSRError

TRAIN_LIST, TEST_LIST = "sep_trainlist.txt", "sep_testlist.txt"
SEPTUPLET = tuple(f"im{number}.png" for number in range(1, 8))


@dataclass(frozen=True)
class Promise:
    """How many septuplets the lists name, and their size."""

    train: int = 64_612
    test: int = 7_824
    motion: Mapping[str, int] = field(default_factory=lambda: {"fast": 1_225, "medium": 4_977, "slow": 1_613})
    shape: Shape = Shape(len(SEPTUPLET), 256, 448)


PROMISE = Promise()


def clips(corpus: params.Vimeo90k, place: Place, promise: Promise = PROMISE) -> list[SourceClip]:
    """The listed septuplets, named `<video>_<septuplet>`; those sorted by motion have it as their parameter `motion`.

    Without the train list the test septuplets alone have to be there: the publisher's archive of these.

    Raises:
        VSRError: a list is missing, is not as long as published, or names a septuplet that is not there or that
            another names too; a septuplet lacks a frame.
    """
    lists = set(place.entries().files)
    if TEST_LIST not in lists:
        raise VSRError(f"{place} has no {TEST_LIST}: give the folder that holds it beside `sequences`.")
    test = _read(place, TEST_LIST, promise.test)
    train = _read(place, TRAIN_LIST, promise.train) if TRAIN_LIST in lists else []
    both = sorted(set(train) & set(test))
    if both:
        raise VSRError(f"{place}: {both[0]} is in {TRAIN_LIST} and in {TEST_LIST}: get the publisher's lists again.")
    motion = _motion(place, lists, test, promise)
    sequences = place / "sequences"
    found = _septuplets(sequences)
    if not train and found.keys() - set(test):
        raise VSRError(f"{place} has no {TRAIN_LIST}, but more septuplets than {TEST_LIST} names: unpack that list beside it.")
    _check(place, {TRAIN_LIST: train, TEST_LIST: test}, found)
    size = (promise.shape.height, promise.shape.width)
    splits: dict[str, params.Split] = {**dict.fromkeys(train, "train"), **dict.fromkeys(test, "test")}
    return [
        SourceClip(
            key.replace("/", "_"),
            split,
            f"sequences/{key}",
            FRAMES_FPS,
            Frames(sequences / key, SEPTUPLET, size),
            {"motion": motion[key]} if key in motion else {},
        )
        for key, split in splits.items()
    ]


def _motion(place: Place, lists: set[str], test: Sequence[str], promise: Promise) -> dict[str, str]:
    """The motion of the septuplets that the lists of motion name; empty where there are no such lists."""
    names = {
        kind: next((name for name in (f"{kind}_testset.txt", f"sep_{kind}_testset.txt") if name in lists), None)
        for kind in promise.motion
    }
    if not any(names.values()):
        return {}
    known, found = set(test), dict[str, str]()
    for kind, name in names.items():
        if name is None:
            raise VSRError(f"{place} has lists of motion but not {kind}_testset.txt: add it, or remove the others.")
        for key in _read(place, name, promise.motion[kind]):
            if key not in known:
                raise VSRError(f"{place / name} names {key}, which is not in {TEST_LIST}: get the lists again.")
            if key in found:
                raise VSRError(f"{place / name} names {key}, which is {found[key]} in another list: get the lists again.")
            found[key] = kind
    return found


def _read(place: Place, name: str, count: int) -> list[str]:
    """The septuplets that a list names, one at the beginning of each line."""
    lines = place.read(name).decode("utf-8", "replace").splitlines()
    keys = [line.split()[0] for line in lines if line.strip()]
    twice = [key for key, times in Counter(keys).items() if times > 1]
    if twice:
        raise VSRError(f"{place / name} names {twice[0]} more than once: get the list again.")
    if len(keys) != count:
        raise VSRError(f"{place / name} names {len(keys):,} septuplets instead of {count:,}: get the list again.")
    return keys


def _septuplets(sequences: Place) -> dict[str, list[str]]:
    """The files of each septuplet, as the lists name it."""
    videos = sequences.entries().folders
    trees = at_once(lambda video: (sequences / video).tree(), videos)
    return {f"{video}/{name}": files for video, tree in zip(videos, trees, strict=True) for name, files in tree.items()}


def _check(place: Place, lists: Mapping[str, Sequence[str]], found: Mapping[str, Sequence[str]]) -> None:
    """Every listed septuplet is there with its seven frames."""
    for name, keys in lists.items():
        missing = [key for key in keys if key not in found]
        if missing:
            raise VSRError(
                f"{place / name} names the {shown('clip', missing)}, not there in {place / 'sequences'}: unpack it again."
            )
    faults = []
    for key in (key for keys in lists.values() for key in keys):
        lacks = [frame for frame in SEPTUPLET if frame not in found[key]]
        if lacks:
            faults.append(f"{key} lacks {', '.join(lacks)}")
    if faults:
        raise VSRError(f"Vimeo-90K in {place} is not as published, {shown('clip', faults)}: unpack it again.")
