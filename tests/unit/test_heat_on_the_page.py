"""Heat maps on the result page: kept as whole numbers with the analysis, coloured when the page is made, and where the evidence is."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage
from pypdf import PdfReader

from config import Code
from dicom_node.pictures import Pictures, pictures_of
from inference.analysis import decode_analysis, encode_analysis
from inference.explanation.colour_scale import colour_scale
from inference.explanation.heat_map import heat_maps
from inference.explanation.place import region_of
from inference.findings import HEAT_WARNING, NO_PLACE, Analysis, Finding, FlagLevel, HeatGrid, Presence, Region
from reporting import ILLUSTRATED, EncodedResult, heat_to_show, images_to_show
from reporting.attributes import SourceHeader
from reporting.companions.layout import sheets_of
from reporting.companions.page import Page, page_of
from reporting.companions.sheet import Photo, Words
from tests.builders import radiograph_file
from tests.conformance.sr_documents import FRONTAL, LATERAL, LOCALISED, PRODUCER, analysis, finding, header, headers_of
from tests.unit.test_explanation import looks_for_bright, with_spot

ROWS, COLUMNS = 240, 400
PRESENT = finding(presence=Presence.PRESENT, score=0.9)


@cache
def grid(row: float, column: float) -> tuple[HeatGrid, Region | None]:
    """The heat map and the region of a model that looks for one bright spot, on a frame with the spot at this place."""
    bright, _ = heat_maps(with_spot(row, column, rows=ROWS, columns=COLUMNS), ("pneumothorax", "blind"), looks_for_bright, longest_side=512)
    bright = replace(bright, image=FRONTAL)
    return bright.kept(), region_of(bright)


@cache
def blind() -> HeatGrid:
    """The heat map of a model that looks nowhere."""
    _, looks_nowhere = heat_maps(with_spot(0.3, 0.3), ("bright", "pneumothorax"), looks_for_bright, longest_side=512)
    return replace(looks_nowhere, image=FRONTAL, rows=ROWS, columns=COLUMNS).kept()


def explained(row: float = 0.3, column: float = 0.3) -> Analysis:
    """A present finding with its heat map."""
    heat, region = grid(row, column)
    assert region is not None
    return analysis(findings=(replace(PRESENT, regions=(region,)),), heat_maps=(heat,))


@pytest.fixture(scope="module")
def radiograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image without anything on it: what has colour on the page comes from the map."""
    pixels = np.full((ROWS, COLUMNS), 1800, dtype=np.uint16)
    pixels[:4] = 0
    pixels[-4:] = 4095
    return radiograph_file(tmp_path_factory.mktemp("images") / "image.dcm", pixels=pixels)


def pictures(of: Analysis, path: Path) -> Pictures:
    files = [(image.sop_instance_uid, path) for image in of.inputs]
    return pictures_of(images_to_show(of), files, heat=heat_to_show(of), maximum_megapixels=100)


def encoded(kind: str, of: Analysis, shown: Pictures) -> EncodedResult:
    result = ILLUSTRATED[kind](of, headers_of(of), producer=PRODUCER, previous=None, pictures=shown.plain, heat_pictures=shown.under_heat)
    assert result is not None
    return result


def read(result: EncodedResult) -> Dataset:
    return dcmread(io.BytesIO(result.data))


def page(of: Analysis, path: Path) -> Page:
    shown = pictures(of, path)
    return page_of(of, SourceHeader(dataset=header()), PRODUCER, pictures=shown.plain, heat_pictures=shown.under_heat)


def photos(of: Page) -> list[Photo]:
    (sheet,) = sheets_of(of, (2000,))
    return [mark for mark in sheet.marks if isinstance(mark, Photo)]


def hot(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Row and column of the middle of what is nearly as yellow as the end of the scale, as shares of the sides."""
    yellow = pixels[..., :2].astype(int).sum(axis=-1) - 2 * pixels[..., 2].astype(int)
    places = np.argwhere(yellow >= 0.8 * yellow.max())
    return (places.mean(axis=0) + 0.5) / pixels.shape[:2]


@pytest.mark.parametrize(("row", "column"), [(0.2, 0.2), (0.2, 0.8), (0.8, 0.2), (0.8, 0.8), (0.5, 0.5)])
def test_on_the_page_the_colours_are_where_the_evidence_is_and_move_with_it(radiograph: Path, row: float, column: float) -> None:
    of = explained(row, column)
    _, under_heat = photos(page(of, radiograph))
    pixels = read(encoded("secondary-capture", of, pictures(of, radiograph))).pixel_array
    top, left = round(under_heat.y), round(under_heat.x)
    shown = pixels[top : top + round(under_heat.height), left : left + round(under_heat.width)]
    assert hot(shown) == pytest.approx([row, column], abs=0.08)


def test_the_image_stands_above_it_without_colours(radiograph: Path) -> None:
    plain, under_heat = photos(page(explained(), radiograph))
    assert plain.y + plain.height < under_heat.y
    assert np.asarray(Image.open(io.BytesIO(plain.picture.png))).ndim == 2


@pytest.mark.parametrize("kind", ILLUSTRATED)
def test_the_same_analysis_read_from_the_store_again_gives_the_same_bytes(radiograph: Path, kind: str) -> None:
    of = explained()
    stored = encode_analysis(of)
    first, second = (encoded(kind, one, pictures(one, radiograph)) for one in (of, decode_analysis(stored)))
    assert first.data == second.data


@pytest.mark.parametrize("kind", ILLUSTRATED)
def test_another_map_is_another_object(radiograph: Path, kind: str) -> None:
    uids = {encoded(kind, of, pictures(of, radiograph)).sop_instance_uid for of in (explained(), explained(0.8, 0.8))}
    moved = replace(explained(), heat_maps=explained(0.8, 0.8).heat_maps)  # the finding and its region are the same
    assert len({*uids, encoded(kind, moved, pictures(moved, radiograph)).sop_instance_uid}) == 3


@pytest.mark.parametrize("kind", ILLUSTRATED)
def test_a_page_without_a_map_is_the_page_that_it_was(radiograph: Path, kind: str) -> None:
    """An analysis of an earlier release, or one whose file is gone when its page is made."""
    of = explained()
    stored = msgspec.json.decode(encode_analysis(of))
    del stored["heat_maps"]
    before = decode_analysis(msgspec.json.encode(stored))
    assert before == replace(of, heat_maps=())
    plain = pictures(before, radiograph)
    assert encoded(kind, before, plain).data == encoded(kind, of, plain).data


def test_colours_lie_only_on_the_part_that_the_model_was_shown(radiograph: Path) -> None:
    of = explained()
    part = replace(of.heat_maps[0], rows=ROWS // 2, columns=COLUMNS // 4, crop=(ROWS // 2, COLUMNS // 4))
    shown = pictures(replace(of, heat_maps=(part,)), radiograph)
    (plain,), (under_heat,) = shown.plain, shown.under_heat
    grey, coloured = (np.asarray(Image.open(io.BytesIO(one.png)).convert("RGB")).astype(int) for one in (plain, under_heat.picture))
    changed = np.argwhere((grey != coloured).any(axis=-1))
    assert changed.min(axis=0) == pytest.approx([ROWS // 2, COLUMNS // 4], abs=ROWS // 32)
    assert changed.max(axis=0)[0] < ROWS
    assert changed.max(axis=0)[1] < COLUMNS // 2


def test_a_map_says_of_what_it_is_by_which_model_and_what_it_is_not(radiograph: Path) -> None:
    of = explained()
    (heat,) = page(of, radiograph).heat
    assert heat.title == "Heat map: Pneumothorax"
    assert heat.caption == f"A map of zero-shot-cxr 2026.1, which gives this image the score {of.heat_maps[0].score:.3f}. {HEAT_WARNING}"
    assert heat.ticks[0] == f"{of.heat_maps[0].score:.3f}"
    assert sorted(heat.ticks, reverse=True) == list(heat.ticks)
    assert heat.scale[0] == tuple(colour_scale()[0])
    assert len(heat.regions) == 1


def test_where_no_place_carries_the_score_the_page_says_so_and_stays_pale(radiograph: Path) -> None:
    of = analysis(findings=(PRESENT,), heat_maps=(blind(),))
    (heat,) = page(of, radiograph).heat
    assert heat.caption.endswith(NO_PLACE)
    assert heat.regions == ()
    plain, under_heat = photos(page(of, radiograph))
    grey, coloured = (np.asarray(Image.open(io.BytesIO(one.picture.png)).convert("RGB")).astype(int) for one in (plain, under_heat))
    assert np.array_equal(grey, coloured)


def of_many(labels: Sequence[str], **changes: Finding) -> Analysis:
    """Present findings on one image, each with a heat map, in this order."""
    made = tuple(
        replace(
            PRESENT, label=label, concept=Code(value=label, scheme="99TEST", meaning=label), score=0.9 - number / 100, flag=FlagLevel.NONE
        )
        for number, label in enumerate(labels)
    )
    heat, _ = grid(0.3, 0.3)
    findings = tuple(changes.get(one.label, one) for one in made)
    return analysis(findings=findings, heat_maps=tuple(replace(heat, label=one.label) for one in reversed(findings)))


def test_of_many_maps_the_three_most_urgent_are_shown_side_by_side_on_one_image(radiograph: Path) -> None:
    of = of_many(["first", "second", "third", "fourth"])
    flagged = replace(of.findings[3], flag=FlagLevel.URGENT)
    of = replace(of, findings=(*of.findings[:3], flagged))
    assert [heat.label for heat in heat_to_show(of)] == ["fourth", "first", "second"]
    _, *under_heat = photos(page(of, radiograph))
    assert len({photo.y for photo in under_heat}) == 1
    assert [photo.x for photo in under_heat] == sorted(photo.x for photo in under_heat)
    image = read(encoded("secondary-capture", of, pictures(of, radiograph)))
    assert image.SOPClassUID == SecondaryCaptureImageStorage
    assert (image.Columns, image.Rows) == (1024, 1448)


def test_a_page_with_one_map_is_no_larger_than_one_without(radiograph: Path) -> None:
    image = read(encoded("secondary-capture", explained(), pictures(explained(), radiograph)))
    assert (image.Columns, image.Rows) == (1024, 1024)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_nothing_runs_into_the_margin_or_the_foot_and_every_letter_can_be_read(radiograph: Path, count: int) -> None:
    of = page(of_many([f"a finding with a long name, number {number}" for number in range(count)]), radiograph)
    for sheet in sheets_of(of, (1024, 1280, 1448)):
        words = [mark for mark in sheet.marks if isinstance(mark, Words)]
        foot = min(mark.y - mark.size for mark in words if mark.text and mark.text in of.disclaimer)
        assert min(mark.size for mark in words) >= 17
        for photo in (mark for mark in sheet.marks if isinstance(mark, Photo)):
            assert photo.x >= 36
            assert photo.x + photo.width <= 1024 - 36 + 1e-6
            assert photo.y + photo.height < foot


def test_a_map_of_one_of_two_images_names_the_image(radiograph: Path) -> None:
    heat, _ = grid(0.3, 0.3)
    of = replace(LOCALISED, heat_maps=(replace(heat, image=FRONTAL), replace(heat, image=LATERAL, label="effusion")))
    assert [one.title for one in page(of, radiograph).heat] == ["Heat map: Pneumothorax, image 1", "Heat map: Pleural effusion, image 2"]


def test_a_map_of_a_finding_that_is_not_in_the_analysis_is_not_shown() -> None:
    heat, _ = grid(0.3, 0.3)
    assert heat_to_show(analysis(findings=(PRESENT,), heat_maps=(replace(heat, label="another"),))) == ()
    assert heat_to_show(analysis(findings=(PRESENT,), heat_maps=(replace(heat, image=LATERAL),))) == ()


def test_the_pdf_shows_the_map_too_with_its_words(radiograph: Path) -> None:
    of = explained()
    document = PdfReader(io.BytesIO(read(encoded("encapsulated-pdf", of, pictures(of, radiograph))).EncapsulatedDocument))
    (sheet,) = document.pages
    assert len(sheet.images) == 2
    assert " ".join(HEAT_WARNING.split()) in " ".join(sheet.extract_text().split())


def test_a_kept_map_is_made_of_whole_numbers_and_knows_its_scale() -> None:
    heat, _ = grid(0.3, 0.3)
    assert heat.side == 32
    assert {type(fall) for fall in heat.falls} == {int}
    assert heat.left_at(0) == pytest.approx(heat.score)
    assert heat.left_at(1) < heat.score
    assert 100 * heat.top_of_scale == max(heat.falls)
    for score in (0.0, 1.0):
        assert 0 <= replace(heat, score=score, falls=(75_000,)).left_at(1) <= 1


@pytest.mark.parametrize("changes", [{"falls": (1, 2, 3)}, {"falls": ()}, {"rows": 0}])
def test_a_map_that_is_no_square_of_cells_over_pixels_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="as many cells down as across"):
        replace(grid(0.3, 0.3)[0], **changes)  # type: ignore[arg-type]


def test_the_colours_are_the_same_on_every_machine() -> None:
    """They come out of sines and powers, which libraries round in their own ways, and are far from where that would show."""
    assert hashlib.sha256(colour_scale().tobytes()).hexdigest() == "b11f3d0e0d79158639a3f8ff46af113a85833c78f9ce411d23aa0b5b9cb97e3a"
