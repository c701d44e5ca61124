"""Where HR clips come from. `source` is a folder, relative to the repository or absolute, or `s3://bucket/prefix`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from pipelines.params.base import Seed, Split, Strict

RENDERED = "rendered"
"""The degradation of LR clips that a corpus brings, and the prior that comes with them."""


class Rendered(Strict):
    """LR frames and their buffers, drawn anew at LR size instead of made of HR."""

    scale: Annotated[float, Field(ge=1)]


class Parallax(Strict):
    """The embedded corpus, generated from a seed (`pipelines/clips/parallax`); `rendered` says at which scale LR frames are
    drawn beside it, null for none."""

    kind: Literal["parallax"]
    source: str
    seed: Seed
    height: Annotated[int, Field(ge=32)]
    width: Annotated[int, Field(ge=32)]
    frames: Annotated[int, Field(ge=2)]
    clips: Annotated[dict[Split, PositiveInt], Field(min_length=1)]
    rendered: Rendered | None = None


class Footage(Strict):
    """Anyone's clips: `videos`, a folder of video files; `frames`, a folder of folders of PNG frames; `gbuffers`,
    such folders with the G-buffer of each frame beside it, as EXR or NPZ.

    `split` is the split of clips that `splits` does not name. `fps` is that of frames, which carry none
    (25 where it is left out); videos know their own. `normals` says in whose axes those of G-buffers are: the world's, as Blender's and where it is left out,
    or the camera's (x right, y down, z forward), which alone can be turned with a flipped crop.
    """

    kind: Literal["videos", "frames", "gbuffers"]
    source: str
    split: Split
    splits: dict[str, Split] = {}
    fps: PositiveFloat | None = None
    normals: Literal["world", "camera"] | None = None


class Reds(Strict):
    """REDS. `partition` says what is held out: `reds4`, four clips of the original training set, from training on
    the 266 others; or `official`, the publisher's validation set, from training on the 240."""

    kind: Literal["reds"]
    source: str
    partition: Literal["reds4", "official"]


class Vimeo90k(Strict):
    """The septuplets of Vimeo-90K, split by the publisher's lists."""

    kind: Literal["vimeo90k"]
    source: str


class TestSet(Strict):
    """A published test set: all of its clips are tested on."""

    kind: Literal["vid4", "udm10", "spmcs"]
    source: str


Corpus = Annotated[Parallax | Footage | Reds | Vimeo90k | TestSet, Field(discriminator="kind")]
