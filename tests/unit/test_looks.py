"""What a manifest may add before the published preprocessing: contrast steps and further looks at a frame."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from config import Catalogue, load
from config.looks import Centre, Clahe, ContrastStep, Corners, Equalise, Gamma, Grid, Look, LooksSection, Stretch, Whole
from inference.adapters import load_adapter
from inference.contrast import contrasted
from inference.crops import count, crops
from inference.engine import Engine
from inference.frames import Frame
from inference.golden import prove
from inference.importing.install import ImportRequest, install
from tests.embedded import FINDINGS, MODEL
from tests.golden_fixtures import write_fixture
from tests.phantoms import as_frame, chest_radiograph, head_ct

Floats = NDArray[np.float32]


def levels() -> NDArray[np.uint8]:
    y, x = np.mgrid[:43, :61]
    return ((x * x // 7 + 3 * y + (x * y) % 23) % 251).astype(np.uint8)


def displayed(values: NDArray[np.uint8]) -> Floats:
    return values.astype(np.float32) / np.float32(255)


def digest(pixels: Floats) -> str:
    return hashlib.sha256(np.rint(pixels * 255).astype(np.uint8).tobytes()).hexdigest()


@pytest.mark.parametrize(
    ("step", "values", "as_opencv"),
    [
        (Clahe(clip_limit=2, tiles=4), levels(), "a391f5656639f8526f6504d45e4a669b63e98e79156552ac2c4e152bdb776892"),
        (Clahe(clip_limit=40, tiles=8), levels(), "21e6fa2d61dd6ad4d590c6dd61ed249107f1545827abd3c1ef4a0757495dcdd2"),
        (Equalise(), levels() // 2, "7fcfe5603ec552991091a7741289f1786086e603ba40391d5d9955fe37430886"),
    ],
    ids=["clahe", "clahe-40", "equalise"],
)
def test_contrast_is_equalised_as_opencv_5_does_to_the_last_level(step: ContrastStep, values: NDArray[np.uint8], as_opencv: str) -> None:
    assert digest(contrasted(displayed(values), [step])) == as_opencv


def test_contrast_steps_are_taken_in_order_and_stay_within_black_and_white() -> None:
    pixels = displayed(levels())
    stretch, gamma = Stretch(lowest_percent=5, highest_percent=95), Gamma(exponent=0.5)
    one, other = contrasted(pixels, [stretch, gamma]), contrasted(pixels, [gamma, stretch])
    assert one.shape == pixels.shape
    assert one.dtype == np.float32
    assert (one.min(), one.max()) == (0, 1)
    assert np.abs(one - other).max() > 0.01
    np.testing.assert_array_equal(contrasted(pixels, []), pixels)


@pytest.mark.parametrize("step", [Clahe(clip_limit=2, tiles=8), Equalise(), Stretch(lowest_percent=1, highest_percent=99)])
def test_a_blank_frame_stays_blank(step: ContrastStep) -> None:
    assert np.ptp(contrasted(np.full((40, 30), 0.5, dtype=np.float32), [step])) == 0


def test_colours_keep_their_difference_while_the_luminance_is_changed() -> None:
    grey = displayed(levels()) * 0.5 + 0.25
    colour = np.stack([grey + 0.02, grey, grey - 0.02], axis=-1).astype(np.float32)
    changed = contrasted(colour, [Gamma(exponent=1.2)])
    np.testing.assert_allclose(changed[..., 0] - changed[..., 2], 0.04, atol=1e-6)
    assert changed.dtype == np.float32


@pytest.mark.parametrize("shape", [(43, 61), (61, 43, 3), (1, 1), (2, 200)])
def test_looks_are_counted_before_they_are_taken(shape: tuple[int, ...]) -> None:
    looks: list[Look] = [Whole(), Centre(fraction=0.5), Corners(fraction=0.7), Grid(rows=2, columns=3, overlap=0.25)]
    taken = crops(np.random.default_rng(1).random(shape, dtype=np.float32), looks)
    assert len(taken) == count(looks) == 13
    assert all(crop.size and crop.ndim == len(shape) for crop in taken)


def test_tiles_cover_the_frame_and_are_of_equal_size() -> None:
    pixels = np.arange(43 * 61, dtype=np.float32).reshape(43, 61)
    tiles = crops(pixels, [Grid(rows=3, columns=4, overlap=0.2)])
    assert len({tile.shape for tile in tiles}) == 1
    assert set(np.concatenate([tile.ravel() for tile in tiles])) == set(pixels.ravel())


def test_corners_and_middle_lie_where_they_should() -> None:
    pixels = np.arange(100, dtype=np.float32).reshape(10, 10)
    corners = crops(pixels, [Corners(fraction=0.2)])
    assert [float(crop[0, 0]) for crop in corners] == [0, 8, 80, 88, 44]


def test_a_percentile_range_upside_down_and_unknown_steps_are_refused() -> None:
    with pytest.raises(ValidationError, match="must lie below"):
        Stretch(lowest_percent=90, highest_percent=10)
    with pytest.raises(ValidationError, match="sharpen"):
        LooksSection.model_validate({"contrast": [{"kind": "sharpen"}], "source": "test"})


def looking(looks: LooksSection | None) -> Catalogue:
    shipped = load(None)[1]
    return replace(shipped, manifests=tuple(one.model_copy(update={"looks": looks}) for one in shipped.manifests))


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> Callable[[LooksSection | None, Sequence[Frame]], Floats]:
    texts = tmp_path_factory.mktemp("texts")

    def asked(looks: LooksSection | None, frames: Sequence[Frame]) -> Floats:
        engine = Engine(looking(looks), device="cpu", batch_size=2, cache_folder=texts)
        return np.array([[score.value for score in row] for row in engine.scores(MODEL, FINDINGS, frames)])

    return asked


Scores = Callable[[LooksSection | None, Sequence[Frame]], Floats]


def test_the_score_of_several_looks_is_the_mean_of_the_scores_of_each_in_any_batch(scores: Scores) -> None:
    frames = [as_frame(picture) for picture in (chest_radiograph(), head_ct(), chest_radiograph()[::-1].copy())]
    parts: list[Look] = [Whole(), Centre(fraction=0.6)]
    alone = [scores(LooksSection(crops=(part,), source="test"), frames) for part in parts]
    assert np.abs(alone[0] - alone[1]).max() > 1e-3
    np.testing.assert_allclose(scores(LooksSection(crops=tuple(parts), source="test"), frames), np.mean(alone, axis=0), atol=1e-5)


def test_the_whole_frame_alone_changes_nothing_and_contrast_does(scores: Scores) -> None:
    frames = [as_frame(chest_radiograph())]
    plain = scores(None, frames)
    np.testing.assert_array_equal(scores(LooksSection(source="test"), frames), plain)
    assert (scores(LooksSection(contrast=(Clahe(clip_limit=2, tiles=8),), source="test"), frames) != plain).any()


def test_reference_outputs_are_compared_without_the_additions(tmp_path: Path) -> None:
    fixture = write_fixture("openai-vit", tmp_path / "openai-vit")
    manifest = install(ImportRequest(source=fixture / "ViT.pt", name="small", golden=fixture), tmp_path).manifest
    looks = LooksSection(contrast=(Equalise(),), crops=(Whole(), Centre(fraction=0.5)), source="test")
    folder = tmp_path / "models" / "small"
    adapter = load_adapter(manifest.model_copy(update={"looks": looks}), folder, "cpu")
    assert adapter.preprocess(as_frame(chest_radiograph())).shape[0] == 2
    prove(adapter, folder / "golden", "cpu")
