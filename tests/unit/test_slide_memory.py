"""How much memory a slide takes: it is read frame by frame, so its size hardly matters."""

from pathlib import Path

import pytest

from tests.bench.bench_slide import MOST, SIDE, in_a_process, write_slide


@pytest.mark.slow
@pytest.mark.parametrize("levels", [4, 1])
def test_a_slide_of_ten_gigapixels_is_analysed_within_the_memory_that_is_promised(tmp_path: Path, levels: int) -> None:
    slides = write_slide(tmp_path, SIDE, "basic")[:levels]
    result = in_a_process([slide.path for slide in slides])
    assert "1024 of " in str(result["said"])
    assert float(result["peak"]) < MOST
