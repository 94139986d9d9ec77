"""Heat maps, regions and pictures, with a model whose reasons are known: it looks at one bright spot and at nothing else."""

import io
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset

from config import Code
from inference.explanation import Explain, Picture
from inference.explanation.colour_scale import colour_scale
from inference.explanation.drawing import draw
from inference.explanation.explaining import MOST, worth_explaining
from inference.explanation.fault_place import place_of_fault
from inference.explanation.heat_map import HeatMap, heat_maps
from inference.explanation.occlusion import GRID, blurred, hidden, log_odds, relevance, windows
from inference.explanation.place import region_of
from inference.findings import HALF_THE_ODDS, HEAT_WARNING, NO_PLACE, Finding, FlagLevel, ImageRef, Presence, QualityGrade, Region
from inference.frames import Frame
from inference.quality import CHECKS, Sample
from tests.phantoms import as_frame

CORNERS = [(0.2, 0.2), (0.2, 0.8), (0.8, 0.2), (0.8, 0.8), (0.5, 0.5), (0.35, 0.6)]


def with_spot(row: float, column: float, *, rows: int = 120, columns: int = 200, radius: float = 0.08) -> Frame:
    """A grey frame with a bright spot, its centre and radius as shares of the sides."""
    down, across = np.mgrid[:rows, :columns]
    distance = np.hypot((down + 0.5) / rows - row, (across + 0.5) / columns - column)
    return as_frame(np.where(distance < radius, 0.95, 0.4).astype(np.float32))


def looks_for_bright(frames: Iterable[Frame]) -> NDArray[np.float64]:
    """A model that scores how much of the frame is bright (label 0), and one that does not look (label 1)."""
    shares = np.array([float((frame.pixels > 0.7).mean()) for frame in frames])
    return np.stack([1 / (1 + np.exp(2 - 300 * shares)), np.full_like(shares, 0.9)], axis=1)


def explained(frame: Frame) -> tuple[HeatMap, HeatMap]:
    bright, blind = heat_maps(frame, ("bright", "blind"), looks_for_bright, longest_side=512)
    return bright, blind


def box(region: Region | None) -> tuple[float, float, float, float]:
    """Left, top, right, bottom."""
    assert region is not None
    columns, rows = zip(*region.points, strict=True)
    return min(columns), min(rows), max(columns), max(rows)


@pytest.mark.parametrize(("row", "column"), CORNERS)
def test_the_map_is_hottest_where_the_evidence_is_and_moves_with_it(row: float, column: float) -> None:
    bright, _ = explained(with_spot(row, column))
    left, top, right, bottom = box(region_of(bright))
    assert abs(bright.peak[0] / 200 - column) < 0.08
    assert abs(bright.peak[1] / 120 - row) < 0.08
    assert left < column * 200 < right
    assert top < row * 120 < bottom
    assert (right - left) * (bottom - top) < 0.3 * 200 * 120


def test_what_the_model_does_not_look_at_has_no_place() -> None:
    _, blind = explained(with_spot(0.3, 0.3))
    assert region_of(blind) is None
    assert blind.hottest == 0
    assert NO_PLACE in draw(with_spot(0.3, 0.3), blind, None, caption="Blind.").caption


def test_a_place_that_takes_less_than_half_of_the_odds_is_no_place() -> None:
    bright, _ = explained(with_spot(0.3, 0.3))
    weak = replace(bright, heat=bright.heat * np.float32(0.99 * HALF_THE_ODDS / bright.hottest))
    assert region_of(weak) is None
    assert region_of(replace(bright, heat=bright.heat * np.float32(1.01 * HALF_THE_ODDS / bright.hottest))) is not None


def test_a_region_is_told_in_the_coordinates_of_the_image_not_of_the_part_that_was_shown() -> None:
    whole, _ = explained(with_spot(0.4, 0.6))
    cropped, _ = explained(replace(with_spot(0.4, 0.6), crop=(30, 1000)))
    left, top, right, bottom = box(region_of(whole))
    assert box(region_of(cropped)) == (left + 1000, top + 30, right + 1000, bottom + 30)
    assert cropped.peak == (whole.peak[0] + 1000, whole.peak[1] + 30)


def test_a_large_frame_gets_the_region_of_its_shrunk_copy_in_its_own_pixels() -> None:
    small = with_spot(0.4, 0.6)
    large = replace(small, pixels=np.kron(small.pixels, np.ones((8, 8), dtype=np.float32)))
    (of_large, _), (of_small, _) = explained(large), explained(small)
    np.testing.assert_allclose(np.array(box(region_of(of_large))) / 8, box(region_of(of_small)), atol=5)


def test_of_several_hot_parts_the_one_with_the_most_heat_is_the_region() -> None:
    heat = np.zeros((GRID, GRID), dtype=np.float32)
    heat[2:4, 2:4] = 5.0
    heat[20:28, 20:30] = 3.0
    heat[10, 10] = 2.0
    ref = ImageRef(sop_class_uid="1.2", sop_instance_uid="2.25.1", frame_number=1)
    found = HeatMap(label="x", score=0.9, image=ref, heat=heat, rows=320, columns=640, crop=(0, 0))
    assert box(region_of(found)) == (400, 200, 600, 280)


def test_every_place_is_hidden_by_several_windows_and_nothing_else_changes() -> None:
    assert windows().max() == 1
    assert (windows() > 0.5).sum(axis=0).min() >= 2
    pixels = with_spot(0.5, 0.5).pixels
    for window in windows()[::17]:
        changed = np.abs(hidden(pixels, 1 - pixels, window) - pixels) > 0
        rows, columns = np.nonzero(changed)
        assert np.ptp(rows) / 120 <= 0.45
        assert np.ptp(columns) / 200 <= 0.45


def test_a_part_that_is_hidden_keeps_its_brightness_and_loses_its_detail() -> None:
    stripes = np.tile(np.array([0.2, 0.2, 0.2, 0.2, 0.8, 0.8, 0.8, 0.8], dtype=np.float32), (160, 20))
    assert abs(float(blurred(stripes).mean() - stripes.mean())) < 0.02
    assert float(blurred(stripes).std()) < 0.2 * float(stripes.std())


def test_a_score_that_never_changes_is_heat_nowhere_and_log_odds_of_certainty_are_finite() -> None:
    assert not relevance(np.zeros(len(windows()))).any()
    assert np.isfinite(log_odds(np.array([0.0, 1.0]))).all()
    np.testing.assert_allclose(log_odds(np.array([0.5, 0.8])), [0, np.log(4)])


def test_the_same_frame_gives_the_same_picture_byte_for_byte() -> None:
    def made() -> bytes:
        frame = with_spot(0.3, 0.7)
        bright, _ = explained(frame)
        return draw(frame, bright, region_of(bright), caption="Spot: score 0.90.").png()

    assert made() == made()


@pytest.mark.parametrize("shape", [(40, 30), (2000, 900), (300, 700, 3)])
def test_a_picture_shows_the_image_large_enough_beside_the_map_and_says_what_it_is_not(shape: tuple[int, ...]) -> None:
    frame = as_frame(np.full(shape, 0.5, dtype=np.float32))
    _, blind = explained(frame)
    hot = replace(blind, heat=np.ones_like(blind.heat))
    picture = draw(frame, hot, region_of(hot), caption="Spot: score 0.90.")
    rows, columns = picture.pixels.shape[:2]
    assert max(rows, columns / 2) >= 512
    assert picture.caption.endswith(HEAT_WARNING)
    with Image.open(io.BytesIO(picture.png())) as file:
        assert file.info["Description"] == picture.caption


def test_cold_places_of_the_picture_are_the_image_as_it_is() -> None:
    frame = with_spot(0.2, 0.2, rows=512, columns=512)
    bright, _ = explained(frame)
    pixels = draw(frame, bright, None, caption="Spot.").pixels
    left, right = pixels[300:500, 200:400], pixels[300:500, 200 + 512 + 14 : 400 + 512 + 14]
    np.testing.assert_array_equal(left, right)


def test_the_scale_grows_lighter_in_even_steps() -> None:
    linear = (colour_scale() / 255.0) ** 2.2 @ np.array([0.2126, 0.7152, 0.0722])
    lightness = 116 * np.cbrt(linear) - 16
    steps = np.diff(lightness[::16])
    assert steps.min() > 0.5 * steps.mean()
    assert steps.max() < 1.6 * steps.mean()


@pytest.mark.parametrize(
    ("pixels", "caption"),
    [
        (np.zeros((2, 2), dtype=np.uint8), "grey"),
        (np.zeros((2, 2, 3), dtype=np.float32), "floats"),
        (np.zeros((0, 2, 3), dtype=np.uint8), "nothing"),
        (np.zeros((2, 2, 3), dtype=np.uint8), "  "),
    ],
)
def test_a_picture_without_pixels_or_words_is_refused(pixels: NDArray[np.uint8], caption: str) -> None:
    with pytest.raises(ValueError, match="a picture needs"):
        Picture(caption=caption, image=ImageRef(sop_class_uid="1.2", sop_instance_uid="2.25.1"), pixels=pixels)


def finding(label: str, score: float, presence: Presence = Presence.UNDETERMINED, flag: FlagLevel = FlagLevel.NONE) -> Finding:
    calibrated = presence is not Presence.UNDETERMINED
    return Finding(
        label=label,
        concept=Code(value=label, scheme="99TEST", meaning=label),
        site=None,
        presence=presence,
        score=score,
        calibrated=calibrated,
        threshold=0.5 if calibrated else None,
        threshold_source="test",
        flag=flag,
        image=ImageRef(sop_class_uid="1.2", sop_instance_uid="2.25.1"),
    )


ABSENT, PRESENT = finding("a", 0.1, Presence.ABSENT), finding("b", 0.7, Presence.PRESENT)
FLAGGED = finding("c", 0.6, Presence.PRESENT, FlagLevel.URGENT)


@pytest.mark.parametrize(
    ("which", "labels"),
    [(Explain.OFF, []), (Explain.FLAGGED, ["c"]), (Explain.PRESENT, ["c", "b"]), (Explain.SHOWN, ["c", "b"])],
)
def test_what_is_absent_is_never_explained_and_what_is_flagged_comes_first(which: Explain, labels: list[str]) -> None:
    assert [one.label for one in worth_explaining((ABSENT, PRESENT, FLAGGED), which)] == labels


def test_in_shadow_a_researcher_sees_the_strongest_of_each_label_and_a_node_nothing() -> None:
    shadow = (finding("a", 0.2), finding("a", 0.9), finding("b", 0.4), *(finding(f"c{number}", 0.1) for number in range(9)))
    assert [(one.label, one.score) for one in worth_explaining(shadow, Explain.SHOWN)] == [("a", 0.9), ("b", 0.4), ("c0", 0.1)]
    assert len(worth_explaining(shadow, Explain.SHOWN)) == MOST
    assert worth_explaining(shadow, Explain.PRESENT) == ()


def test_a_finding_whose_place_is_known_is_not_asked_about_again() -> None:
    placed = replace(PRESENT, regions=(Region.box(PRESENT.image, left=1, top=1, right=2, bottom=2),))
    assert worth_explaining((placed,), Explain.PRESENT) == ()


def test_what_is_wrong_with_the_whole_frame_is_outlined_nowhere_and_text_where_it_stands() -> None:
    header, random = Dataset(), np.random.default_rng(1)
    plain = random.normal(0.4, 0.02, (512, 512)).clip(0, 1).astype(np.float32)
    page = Image.fromarray((plain * 255).astype(np.uint8))
    ImageDraw.Draw(page).text((20, 470), "CANARY PHI 1960-02-29 ABCDEFGH", fill=255, font=ImageFont.load_default(24))
    frame = as_frame(np.asarray(page, dtype=np.float32) / np.float32(255))
    verdict = CHECKS["burnt-in-text"](Sample(frame), header)
    assert verdict is not None
    assert verdict.grade is QualityGrade.LIMITED
    left, top, _, bottom = box(place_of_fault(frame, header, verdict))
    assert (left, bottom) == (0, 512)
    assert top > 300
    everywhere = Image.fromarray((plain * 255).astype(np.uint8))
    for row in range(8, 500, 28):
        ImageDraw.Draw(everywhere).text((4, row), "CANARY PHI 1960-02-29 ABCDEFGHIJKLMNOP", fill=255, font=ImageFont.load_default(24))
    assert place_of_fault(as_frame(np.asarray(everywhere, dtype=np.float32) / np.float32(255)), header, verdict) is None
