"""Results of clips that outlive the process that made them."""

from __future__ import annotations

from pathlib import Path

from pipelines.runtime.keeping import Kept


def test_finished_clips_are_kept_and_no_others(tmp_path: Path) -> None:
    kept: Kept[list[int]] = Kept(tmp_path / "work", len)
    for clip, frames in (("a/b", [1, 2]), ("c", [3]), ("d", [4])):
        assert kept.receive(clip, frames) == len(frames)
    kept.done("a/b")
    kept.drop("c")  # it failed
    again: Kept[list[int]] = Kept(tmp_path / "work", len)  # another process; "d" was not finished in the first
    assert [again.has(clip) for clip in ("a/b", "c", "d")] == [True, False, False]
    again.receive("d", [5])
    again.done("d")
    assert again.results(["d", "c", "a/b"]) == [[5], [1, 2]]
    assert sorted(path.suffix for path in (tmp_path / "work").iterdir()) == [".pickle"] * 2
