"""Which instances of a series are levels of a slide, and which of them a model is shown: from headers only."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from config.manifests import SlidesSection
from inference.selection import SelectedInstance
from inference.slides.levels import LevelError, read_level
from inference.slides.pyramid import level_for, slides_of
from tests.builders import uid
from tests.slides import LevelFacts, header_of, pyramid, section, write_native

PICTURE = section(512, 640)


def asked(microns_per_pixel: float, tolerance: float = 0.2) -> SlidesSection:
    return SlidesSection(microns_per_pixel=microns_per_pixel, tolerance=tolerance, source="chosen for the test")


def instance(folder: Path, facts: LevelFacts, **attributes: object) -> SelectedInstance:
    """A level of which only the header matters; the file is as long as its frames demand."""
    header = header_of(facts, **attributes)
    path = folder / f"{header.SOPInstanceUID}.dcm"
    path.write_bytes(b"\0" * int(header.NumberOfFrames))
    return SelectedInstance(path=path, header=header)


@pytest.mark.parametrize(("wanted", "taken"), [(0.5, 0.5), (0.55, 0.5), (1.0, 1.0), (2.2, 2.0)])
def test_the_level_nearest_to_the_magnification_of_the_model_is_taken(tmp_path: Path, wanted: float, taken: float) -> None:
    (slide,) = slides_of(pyramid(tmp_path, PICTURE, factors=(1, 2, 4)))
    level = level_for(slide, asked(wanted))
    assert level is not None
    assert level.microns_per_pixel == pytest.approx(taken)


def test_if_no_level_fits_the_nearest_finer_one_is_taken(tmp_path: Path) -> None:
    (slide,) = slides_of(pyramid(tmp_path, PICTURE, factors=(1, 4)))
    level = level_for(slide, asked(1.5))
    assert level is not None
    assert level.microns_per_pixel == pytest.approx(0.5)


def test_a_slide_that_is_too_coarse_has_no_level_for_the_model(tmp_path: Path) -> None:
    (slide,) = slides_of(pyramid(tmp_path, PICTURE, spacing_um=2))
    assert level_for(slide, asked(0.5)) is None


def test_the_label_of_a_slide_is_left_out_because_it_carries_identity(tmp_path: Path) -> None:
    label = instance(tmp_path, LevelFacts(rows=300, columns=300, kind="LABEL", number=9))
    (slide,) = slides_of([label, *pyramid(tmp_path, PICTURE)])
    (left_out,) = slide.left_out
    assert left_out.image == label.image
    assert "identity of the patient" in left_out.reason
    assert label.image not in {one.image for one in slide.instances}


def test_the_overview_is_left_out_because_it_shows_the_label_too(tmp_path: Path) -> None:
    overview = instance(tmp_path, LevelFacts(rows=512, columns=640, kind="OVERVIEW", number=9))
    (slide,) = slides_of([overview, *pyramid(tmp_path, PICTURE)])
    assert [one.image for one in slide.left_out] == [overview.image]


def test_two_series_are_two_slides(tmp_path: Path) -> None:
    first, second = pyramid(tmp_path / "1", PICTURE, series="2.25.1"), pyramid(tmp_path / "2", PICTURE, series="2.25.2")
    assert [len(slide.levels) for slide in slides_of([*second, *first])] == [2, 2]


def test_two_pyramids_of_one_series_are_two_slides(tmp_path: Path) -> None:
    first = pyramid(tmp_path / "1", PICTURE, factors=(1,), PyramidUID="2.25.31")
    second = pyramid(tmp_path / "2", PICTURE, factors=(1,), PyramidUID="2.25.32", SOPInstanceUID=uid("second"))
    assert len(slides_of([*first, *second])) == 2


def test_what_shows_another_field_than_the_finest_level_is_left_out(tmp_path: Path) -> None:
    stranger = instance(tmp_path, LevelFacts(rows=128, columns=128, spacing_um=1, number=9))
    (slide,) = slides_of([stranger, *pyramid(tmp_path, PICTURE)])
    assert [one.image for one in slide.left_out] == [stranger.image]


def test_the_imaged_volume_tells_the_spacing_where_pixel_spacing_is_missing(tmp_path: Path) -> None:
    level = read_level(
        [instance(tmp_path, LevelFacts(rows=1000, columns=2000, spacing_um=None), ImagedVolumeHeight=0.5, ImagedVolumeWidth=1.0)]
    )
    assert level.spacing_um == pytest.approx((0.5, 0.5))


def test_a_level_without_any_spacing_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(LevelError, match="neither Pixel Spacing nor Imaged Volume"):
        read_level([instance(tmp_path, LevelFacts(rows=1000, columns=2000, spacing_um=None))])


def test_a_level_with_fewer_frames_than_its_matrix_needs_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(LevelError, match="claims 11 frames, and its total pixel matrix needs 12"):
        read_level([instance(tmp_path, LevelFacts(rows=768, columns=1024, frames=11))])


def test_a_header_that_claims_more_frames_than_the_file_has_bytes_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    claimed = instance(tmp_path, LevelFacts(rows=256, columns=256))
    claimed.header.NumberOfFrames = 2_000_000_000
    with pytest.raises(LevelError, match="the file is too short"):
        read_level([claimed])


@pytest.mark.parametrize("keyword", ["TotalPixelMatrixRows", "TotalPixelMatrixColumns", "Rows"])
def test_a_level_without_a_size_is_refused_by_name(tmp_path: Path, keyword: str) -> None:
    broken = instance(tmp_path, LevelFacts(rows=256, columns=256))
    delattr(broken.header, keyword)
    with pytest.raises(LevelError, match=keyword):
        read_level([broken])


def test_of_several_focal_planes_and_optical_paths_the_middle_and_the_first_are_taken_and_named(tmp_path: Path) -> None:
    facts = LevelFacts(rows=512, columns=768, frames=6 * 3 * 2)
    level = read_level([instance(tmp_path, facts, TotalPixelMatrixFocalPlanes=3, NumberOfOpticalPaths=2)])
    assert level.chosen == ("focal plane 2 of 3", "optical path 1 of 2")
    assert [one.frame_number for one in level.within(0, 0, 512, 768)] == [7, 8, 9, 10, 11, 12]


def concatenation(folder: Path, *offsets: int, total: int) -> list[SelectedInstance]:
    facts = LevelFacts(rows=512, columns=768, frames=2)
    return [
        instance(
            folder,
            facts,
            SOPInstanceUID=uid("part", part),
            ConcatenationUID="2.25.55",
            InConcatenationNumber=part,
            InConcatenationTotalNumber=total,
            ConcatenationFrameOffsetNumber=offset,
        )
        for part, offset in enumerate(offsets, start=1)
    ]


def test_the_parts_of_a_concatenation_are_one_level(tmp_path: Path) -> None:
    (slide,) = slides_of(concatenation(tmp_path, 0, 2, 4, total=3)[::-1])
    (level,) = slide.levels
    assert [(one.part, one.frame_number) for one in level.within(0, 0, 512, 768)] == [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2)]


@pytest.mark.parametrize("offsets", [(0, 4), (0, 2)])
def test_a_concatenation_with_a_part_missing_is_refused_by_name(tmp_path: Path, offsets: tuple[int, ...]) -> None:
    (slide,) = slides_of(concatenation(tmp_path, *offsets, total=3))
    (broken,) = slide.broken
    assert "concatenation" in broken.reason
    assert len(broken.images) == 2


def test_frames_of_a_sparse_level_are_where_they_say(tmp_path: Path) -> None:
    header = header_of(LevelFacts(rows=40, columns=60, tile=(10, 10), frames=2), DimensionOrganizationType="TILED_SPARSE")
    header.PerFrameFunctionalGroupsSequence = [position(row=31, column=51), position(row=1, column=11)]
    level = read_level([write_native(tmp_path / "sparse.dcm", header, [np.zeros((10, 10, 3), np.uint8)] * 2)])
    assert [(one.frame_number, one.top, one.left) for one in level.within(0, 0, 40, 60)] == [(1, 30, 50), (2, 0, 10)]
    assert level.within(15, 15, 25, 45) == ()


def position(*, row: int, column: int, height_mm: float = 0.0, path: str = "1") -> Dataset:
    place, optical, group = Dataset(), Dataset(), Dataset()
    place.RowPositionInTotalImagePixelMatrix, place.ColumnPositionInTotalImagePixelMatrix = row, column
    place.ZOffsetInSlideCoordinateSystem = height_mm
    optical.OpticalPathIdentifier = path
    group.PlanePositionSlideSequence, group.OpticalPathIdentificationSequence = [place], [optical]
    return group
