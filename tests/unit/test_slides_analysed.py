"""Whole slides through an analysis: what is found and where, how much was looked at, and what is said where nothing was."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement

from config import Catalogue, Code, load
from config.manifests import SlidesSection
from config.prompt_sets import PromptSet
from config.routes import RouteRule
from inference.analysis import analyse, decode_analysis, encode_analysis
from inference.explanation.picture import Picture as ShownPicture
from inference.findings import AbstentionReason, Analysis, ImageRef, Outcome, Region
from inference.selection import SelectedInstance
from inference.slides.levels import read_level
from tests.embedded import MODEL
from tests.slides import LESION, TISSUE, LevelFacts, Picture, Table, header_of, jpeg, pyramid, section, tiles_of, write_level
from tests.tile_scorer import TileScorer

AT = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
HOW = SlidesSection(microns_per_pixel=0.5, top_tiles=3, source="chosen for the tests")  # tiles of 64 pixels: half a frame
ROUTE = RouteRule(name="microscopy", model=MODEL, prompt_set="dark-spots", quality=False)
SPOT = (0.5, 0.7, 0.12, LESION)


def dark_spots() -> PromptSet:
    code = Code(value="dark", scheme="99TEST", meaning="Dark spot")
    label = {"name": "dark-spot", "concept": code, "positive": ["dark tissue"], "negative": ["light tissue"]}
    return PromptSet.model_validate(
        {"name": "dark-spots", "version": 1, "recipe": "pair-softmax", "temperature": "model", "labels": [label]}
    )


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    shipped = load(None)[1]
    manifest = shipped.manifest(MODEL)
    small = manifest.preprocessing.model_copy(update={"image_size": 64})
    manifest = manifest.model_copy(update={"slides": HOW, "preprocessing": small})
    return replace(shipped, manifests=(manifest,), prompt_sets=(*shipped.prompt_sets, dark_spots()))


class Desk:
    """Analyses slides as the worker does."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.scorer = TileScorer(catalogue)

    def analyse(
        self, slides: Sequence[SelectedInstance], route: RouteRule = ROUTE, *, show: Callable[[ShownPicture], object] | None = None
    ) -> Analysis:
        return analyse(
            study_instance_uid="2.25.7",
            revision=1,
            route=route,
            selected=slides,
            excluded=(),
            engine=self.scorer,
            catalogue=self.catalogue,
            site="our-site",
            analysed_at=AT,
            maximum_frame_megapixels=100,
            show=show,
        )


@pytest.fixture
def desk(catalogue: Catalogue) -> Desk:
    return Desk(catalogue)


def slide_picture(*blobs: tuple[float, float, float, tuple[int, int, int]]) -> Picture:
    return section(600, 800, (0.5, 0.3, 0.3, TISSUE), (0.5, 0.7, 0.3, TISSUE), *blobs)


def places(regions: Sequence[Region], slide: SelectedInstance) -> list[tuple[float, float]]:
    """The middle of each region on the slide, (row, column) in pixels of the total matrix."""
    level = read_level([slide])
    frames = {level.reference(frame): frame for frame in level.within(0, 0, level.rows, level.columns)}
    found = []
    for region in regions:
        frame = frames[region.image]
        columns, rows = zip(*region.points, strict=True)
        found.append((frame.top + (min(rows) + max(rows)) / 2, frame.left + (min(columns) + max(columns)) / 2))
    return found


@pytest.mark.parametrize("where", [(0.5, 0.7), (0.35, 0.3), (0.6, 0.25)])
def test_the_tiles_with_the_lesion_are_named_and_outlined_wherever_it_lies(desk: Desk, tmp_path: Path, where: tuple[float, float]) -> None:
    slides = pyramid(tmp_path, slide_picture((*where, 0.12, LESION)))
    (finding,) = desk.analyse(slides).findings
    assert len(finding.regions) == 3
    assert {region.image for region in finding.regions} == set(finding.images)
    assert finding.image == finding.regions[0].image
    for row, column in places(finding.regions, slides[0]):
        assert abs(row - where[0] * 600) < 80
        assert abs(column - where[1] * 800) < 80


def test_the_score_of_a_slide_is_the_mean_of_its_highest_tiles(desk: Desk, tmp_path: Path) -> None:
    (finding,) = desk.analyse(pyramid(tmp_path, slide_picture(SPOT))).findings
    darkness = sorted((1 - float(frame.pixels.mean()) for frame in desk.scorer.seen), reverse=True)
    assert finding.score == pytest.approx(sum(darkness[:3]) / 3, abs=1e-6)


def test_the_report_says_how_many_tiles_of_how_many_were_looked_at_and_how(desk: Desk, tmp_path: Path) -> None:
    analysis = desk.analyse(pyramid(tmp_path, slide_picture()), ROUTE.model_copy(update={"maximum_tiles": 20}))
    (remark,) = analysis.remarks
    assert "20 of " in remark
    assert "tiles with tissue were looked at (spread evenly over the tissue), of 130 tiles in all" in remark
    assert "level 1 of 2 (0.5 um per pixel), as 0.5 um per pixel; a tile is 32 x 32 um; a score is the mean of the 3 highest" in remark
    assert len(desk.scorer.seen) == 20


def test_all_tiles_with_tissue_are_looked_at_if_they_are_few_enough_and_none_of_glass(desk: Desk, tmp_path: Path) -> None:
    (remark,) = desk.analyse(pyramid(tmp_path, slide_picture())).remarks
    assert f"{len(desk.scorer.seen)} of {len(desk.scorer.seen)} tiles with tissue were looked at (all)" in remark
    assert all(frame.pixels.mean() < 0.9 for frame in desk.scorer.seen)


def test_a_slide_is_told_as_one_thing(desk: Desk, tmp_path: Path) -> None:
    slides = pyramid(tmp_path, slide_picture())
    (kind,) = desk.analyse(slides).kinds
    assert (kind.kind, kind.images) == ("HISTOLOGY", (slides[0].image,))


def test_the_level_that_was_used_is_the_evidence_and_the_others_are_left_out_with_the_reason(desk: Desk, tmp_path: Path) -> None:
    slides = pyramid(tmp_path, slide_picture(), factors=(1, 2, 8))
    analysis = desk.analyse(slides)
    assert analysis.outcome is Outcome.SUCCEEDED
    assert analysis.inputs == (slides[0].image,)
    assert [one.image for one in analysis.excluded] == [slides[1].image, slides[2].image]
    assert {one.reason for one in analysis.excluded} == {"another level of a slide that was looked at"}


def test_a_finer_level_shows_the_model_the_same_field(catalogue: Catalogue, tmp_path: Path) -> None:
    coarse, fine = Desk(catalogue), Desk(catalogue)
    picture = section(512, 512, (0.5, 0.5, 0.4, TISSUE), (0.4, 0.6, 0.1, LESION))
    (one,) = coarse.analyse(pyramid(tmp_path / "coarse", picture, spacing_um=0.5, factors=(1,))).findings
    larger = np.repeat(np.repeat(picture, 2, axis=0), 2, axis=1)
    (other,) = fine.analyse(pyramid(tmp_path / "fine", larger, spacing_um=0.25, factors=(1,))).findings
    assert fine.scorer.seen[0].pixels.shape == (128, 128, 3)
    assert coarse.scorer.seen[0].pixels.shape == (64, 64, 3)
    assert one.score == pytest.approx(other.score, abs=0.01)


def hottest(picture: ShownPicture) -> tuple[float, float]:
    """Where a tile map has the colour of the highest score, as shares of its rows and columns; the scale beside it is left out."""
    slide = picture.pixels[:768, :1024].astype(int)
    warm = (slide[..., 0] - slide[..., 2]) > 60
    rows, columns = np.nonzero(warm)
    return float(rows.mean() / 768), float(columns.mean() / 1024)


@pytest.mark.parametrize("where", [(0.4, 0.3), (0.6, 0.7)])
def test_the_tile_map_is_hottest_where_the_lesion_is(desk: Desk, tmp_path: Path, where: tuple[float, float]) -> None:
    shown: list[ShownPicture] = []
    desk.analyse(pyramid(tmp_path, slide_picture((*where, 0.12, LESION))), show=shown.append)
    (picture,) = shown
    assert hottest(picture) == pytest.approx(where, abs=0.08)
    assert picture.caption.startswith("Dark spot, score 0.")
    assert "tiles with tissue were looked at" in picture.caption


def test_without_findings_a_map_shows_which_tiles_were_looked_at(desk: Desk, tmp_path: Path) -> None:
    shown: list[ShownPicture] = []
    analysis = desk.analyse(pyramid(tmp_path, slide_picture()), ROUTE.model_copy(update={"prompt_set": None}), show=shown.append)
    (picture,) = shown
    assert picture.caption == analysis.remarks[0]
    assert "a score is" not in picture.caption


@pytest.mark.parametrize("table", ["extended", "none"])
def test_the_offset_table_changes_nothing(catalogue: Catalogue, tmp_path: Path, table: Table) -> None:
    picture = slide_picture(SPOT)
    with_basic = Desk(catalogue).analyse(pyramid(tmp_path / "basic", picture))
    otherwise = Desk(catalogue).analyse(pyramid(tmp_path / table, picture, table=table))
    assert otherwise == with_basic


def test_the_same_slide_gives_the_same_bytes(catalogue: Catalogue, tmp_path: Path) -> None:
    slides = pyramid(tmp_path, slide_picture(SPOT))
    first, second = (encode_analysis(Desk(catalogue).analyse(order)) for order in (slides, slides[::-1]))
    assert first == second
    assert decode_analysis(first).remarks


def test_two_slides_of_a_study_get_a_finding_each(desk: Desk, tmp_path: Path) -> None:
    ill = pyramid(tmp_path / "1", slide_picture(SPOT), series="2.25.1")
    well = pyramid(tmp_path / "2", slide_picture(), series="2.25.2")
    first, second = desk.analyse([*well, *ill]).findings
    assert (first.image.sop_instance_uid, second.image.sop_instance_uid) == (ill[0].image.sop_instance_uid, well[0].image.sop_instance_uid)
    assert first.score > second.score + 0.1


def test_a_slide_without_coarser_levels_is_looked_at_too(desk: Desk, tmp_path: Path) -> None:
    slides = pyramid(tmp_path, slide_picture(SPOT), factors=(1,))
    analysis = desk.analyse(slides)
    assert analysis.outcome is Outcome.SUCCEEDED
    assert analysis.inputs == (slides[0].image,)


def refusal(analysis: Analysis) -> tuple[AbstentionReason, str]:
    assert analysis.outcome is Outcome.NOT_ATTEMPTED
    assert not analysis.findings
    (abstention,) = analysis.abstentions
    return abstention.reason, abstention.detail


def test_an_empty_slide_is_not_shown_to_the_model_and_the_report_says_so(desk: Desk, tmp_path: Path) -> None:
    reason, words = refusal(desk.analyse(pyramid(tmp_path, section(600, 800))))
    assert reason is AbstentionReason.QUALITY
    assert "no tissue was found on the slide, the model was not asked" in words
    assert desk.scorer.seen == []


def test_a_slide_that_is_too_coarse_is_refused_with_both_magnifications(desk: Desk, tmp_path: Path) -> None:
    reason, words = refusal(desk.analyse(pyramid(tmp_path, slide_picture(), spacing_um=29)))
    assert reason is AbstentionReason.UNSUPPORTED
    assert "no level of the slide is fine enough: the finest has 29 um per pixel, 0.5 are asked for" in words


def test_a_slide_smaller_than_a_tile_is_refused_with_its_size(desk: Desk, tmp_path: Path) -> None:
    reason, words = refusal(desk.analyse(pyramid(tmp_path, section(50, 50, (0.5, 0.5, 1, TISSUE)), factors=(1,))))
    assert reason is AbstentionReason.UNSUPPORTED
    assert "smaller than one tile: 50 x 50 pixels" in words


def test_a_grey_slide_is_refused_because_its_tissue_cannot_be_told(desk: Desk, tmp_path: Path) -> None:
    slides = pyramid(tmp_path, slide_picture(), SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2")
    reason, words = refusal(desk.analyse(slides))
    assert reason is AbstentionReason.UNSUPPORTED
    assert "grey slide" in words


def test_a_slide_without_spacing_is_refused_by_name(desk: Desk, tmp_path: Path) -> None:
    slides = pyramid(tmp_path, slide_picture(), factors=(1,), SharedFunctionalGroupsSequence=None)
    _, words = refusal(desk.analyse(slides))
    assert "neither Pixel Spacing nor Imaged Volume" in words


def test_a_label_alone_is_no_slide(desk: Desk, tmp_path: Path) -> None:
    facts = LevelFacts(rows=256, columns=256, kind="LABEL")
    label = write_level(tmp_path / "label.dcm", header_of(facts), iter([jpeg(np.zeros((256, 256, 3), np.uint8))]))
    label.path.unlink()
    analysis = desk.analyse([label])
    assert refusal(analysis)[1] == "slide without any level: only label or overview"
    assert [one.image for one in analysis.excluded] == [label.image]


def test_a_model_that_was_not_made_for_slides_tells_the_kind_but_finds_nothing(catalogue: Catalogue, tmp_path: Path) -> None:
    plain = replace(catalogue, manifests=(catalogue.manifest(MODEL).model_copy(update={"slides": None}),))
    analysis = Desk(plain).analyse(pyramid(tmp_path, slide_picture()))
    assert [kind.kind for kind in analysis.kinds] == ["HISTOLOGY"]
    assert analysis.findings == ()
    assert any("does not say how it reads whole slides" in abstention.detail for abstention in analysis.abstentions)


def test_a_route_without_a_model_says_that_slides_were_not_looked_at(desk: Desk, tmp_path: Path) -> None:
    analysis = desk.analyse(pyramid(tmp_path, slide_picture()), RouteRule(name="microscopy"))
    assert refusal(analysis) == (AbstentionReason.NO_MODEL, "no model of this route looks at whole slides; they were not looked at")


def test_a_damaged_frame_is_named_and_the_others_are_looked_at(desk: Desk, tmp_path: Path) -> None:
    picture = slide_picture()
    facts = LevelFacts(rows=600, columns=800, tile=(128, 128))
    frames = [jpeg(frame) for frame in tiles_of(picture, facts.tile)]
    damaged = next(index for index, frame in enumerate(tiles_of(picture, facts.tile)) if frame.mean() < 200)
    frames[damaged] = b"\xff\xd8 no picture "
    level = write_level(tmp_path / "level.dcm", header_of(facts), iter(frames))
    coarse = pyramid(tmp_path / "coarse", np.ascontiguousarray(picture[::4, ::4]), spacing_um=2, factors=(1,))
    analysis = desk.analyse([level, replaced(coarse[0], number=2)])
    assert analysis.outcome is Outcome.PARTIAL
    (abstention,) = (one for one in analysis.abstentions if one.reason is AbstentionReason.UNREADABLE)
    assert {image.frame_number for image in abstention.images} == {damaged + 1}
    assert analysis.findings


def test_a_file_whose_frames_are_all_damaged_is_given_up_by_name(desk: Desk, tmp_path: Path) -> None:
    facts = LevelFacts(rows=600, columns=800, tile=(128, 128))
    level = write_level(tmp_path / "level.dcm", header_of(facts), iter([b"\xff\xd8 no picture "] * 35))
    analysis = desk.analyse([level])
    assert analysis.outcome is Outcome.FAILED
    assert {one.reason for one in analysis.abstentions} == {AbstentionReason.UNREADABLE}


def test_tissue_that_a_sparse_level_does_not_hold_is_not_looked_at(desk: Desk, tmp_path: Path) -> None:
    from tests.unit.test_slide_pyramids import position  # noqa: PLC0415

    picture = slide_picture(SPOT)
    facts = LevelFacts(rows=600, columns=800, tile=(128, 128))
    kept = [index for index in range(facts.down * facts.across) if index % facts.across < 3]
    header = header_of(facts, NumberOfFrames=len(kept), DimensionOrganizationType="TILED_SPARSE")
    header.PerFrameFunctionalGroupsSequence = [
        position(row=index // facts.across * 128 + 1, column=index % facts.across * 128 + 1) for index in kept
    ]
    tiles = list(tiles_of(picture, facts.tile))
    level = write_level(tmp_path / "sparse.dcm", header, iter([jpeg(tiles[index]) for index in kept]))
    (finding,) = desk.analyse([level]).findings
    assert all(column < 3 * 128 for _, column in places(finding.regions, level))
    assert finding.score < 0.45


WRONG = st.sampled_from([None, "", 0, 1, 2, 7, 255, 65_535, 2_000_000_000])
ATTRIBUTES = (
    "Rows",
    "Columns",
    "NumberOfFrames",
    "TotalPixelMatrixRows",
    "TotalPixelMatrixColumns",
    "TotalPixelMatrixFocalPlanes",
    "NumberOfOpticalPaths",
    "SamplesPerPixel",
    "InConcatenationNumber",
    "InConcatenationTotalNumber",
    "ConcatenationFrameOffsetNumber",
    "ImagedVolumeWidth",
    "SharedFunctionalGroupsSequence",
    "DimensionOrganizationType",
    "ImageType",
    "PyramidUID",
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wrong=st.dictionaries(st.sampled_from(ATTRIBUTES), WRONG, min_size=1, max_size=3))
def test_a_header_with_anything_in_it_ends_in_an_answer_or_a_reason(desk: Desk, small: SelectedInstance, wrong: dict[str, object]) -> None:
    header = deepcopy(small.header)
    for keyword, value in wrong.items():
        written = [] if dictionary_VR(keyword) == "SQ" else str(value or "") if dictionary_VR(keyword) == "UI" else value
        header[keyword] = DataElement(keyword, dictionary_VR(keyword), written, validation_mode=IGNORE)
    analysis = desk.analyse([replace(small, header=header)])
    assert analysis.findings or analysis.abstentions


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SelectedInstance:
    picture = section(300, 400, (0.5, 0.5, 0.45, TISSUE))
    return pyramid(tmp_path_factory.mktemp("small"), picture, tile=(128, 128), factors=(1,))[0]


def replaced(slide: SelectedInstance, *, number: int) -> SelectedInstance:
    """The same file under another SOP Instance UID, as if it had come with the other level."""
    return replace(slide, received_as=ImageRef(sop_class_uid=slide.image.sop_class_uid, sop_instance_uid=f"2.25.{number}"))
