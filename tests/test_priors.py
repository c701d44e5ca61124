"""What the workers of all priors share."""

from __future__ import annotations

import numpy as np

from pipelines.clips.streaming import BATCH_BYTES, batches


def test_lists_are_bounded_and_keep_the_order() -> None:
    frames = [{"a": np.full(BATCH_BYTES // 3, index, np.uint8)} for index in range(8)]
    lists = list(batches(frames))
    assert [int(frame["a"][0]) for frames in lists for frame in frames] == list(range(8))
    assert max(len(frames) for frames in lists) == 4
    assert list(batches([])) == []
