"""The shipped studies: complete, licensed, small, and without anybody's name."""

from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from dicom_node.demo.studies import DATA_FOLDER, DEMO_STUDIES, DemoStudy
from inference.frames import UndecodableError, frame_count, read_frames

ROOT = Path(__file__).parents[2]
NOT_DECODABLE = {"16-chest-cut-off", "17-rt-plan"}
FILES = [(study, path) for study in DEMO_STUDIES for path in study.files]


def header(path: Path) -> Dataset:
    return dcmread(path, stop_before_pixels=True)


def test_every_shipped_file_belongs_to_exactly_one_listed_study() -> None:
    listed = [path for _, path in FILES]
    assert sorted(listed) == sorted(path for path in DATA_FOLDER.rglob("*") if path.is_file())
    assert all(study.files for study in DEMO_STUDIES)
    assert len({study.title for study in DEMO_STUDIES}) == len(DEMO_STUDIES)


def test_the_shipped_studies_stay_small() -> None:
    assert sum(path.stat().st_size for _, path in FILES) <= 15_000_000


@pytest.mark.parametrize("study", DEMO_STUDIES, ids=lambda study: study.folder)
def test_notice_names_the_source_and_the_licence_of_every_study(study: DemoStudy) -> None:
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    blocks = [block for block in notice.split("\n\n") if block.startswith(f"dicom_node/demo/data/{study.folder}\n")]
    assert len(blocks) == 1
    assert f"Source:  {study.source}" in blocks[0]
    assert f"Licence: {study.licence}" in blocks[0]


def test_no_two_instances_and_no_two_studies_share_a_uid() -> None:
    headers = [(study, header(path)) for study, path in FILES]
    assert len({made.SOPInstanceUID for _, made in headers}) == len(FILES)
    assert len({(study.folder, made.StudyInstanceUID) for study, made in headers}) == len(DEMO_STUDIES)
    assert len({made.StudyInstanceUID for _, made in headers}) == len(DEMO_STUDIES)
    assert all(made.StudyInstanceUID.startswith("2.25.") and made.StudyInstanceUID.is_valid for _, made in headers)
    assert all(made.SOPInstanceUID == made.file_meta.MediaStorageSOPInstanceUID for _, made in headers)


@pytest.mark.parametrize(("study", "path"), FILES, ids=lambda value: value.name if isinstance(value, Path) else value.folder)
def test_every_patient_is_a_demo_patient_and_nobody_else_is_named(study: DemoStudy, path: Path) -> None:
    made, number = header(path), study.folder[:2]
    assert str(made.PatientName).startswith("DEMO^")
    assert (made.PatientID, made.AccessionNumber, made.PatientBirthDate) == (f"DEMO-{number}", f"DEMO{number}", "")
    assert made.StudyDescription
    names = {element.keyword for element in made.iterall() if element.VR == "PN" and element.value}
    assert names == {"PatientName"}
    assert not [element for element in made.iterall() if element.tag.is_private]


@pytest.mark.parametrize("study", [study for study in DEMO_STUDIES if study.folder not in NOT_DECODABLE], ids=lambda study: study.folder)
def test_the_first_frame_of_every_study_with_pixels_reads(study: DemoStudy) -> None:
    path = study.files[0]
    assert frame_count(header(path)) >= 1
    (frame,) = read_frames(path, [1], maximum_megapixels=10)
    assert 0 <= frame.pixels.min() <= frame.pixels.max() <= 1
    assert frame.ref.sop_instance_uid == header(path).SOPInstanceUID


def test_the_file_that_was_cut_off_has_a_header_but_no_readable_pixels() -> None:
    (study,) = [study for study in DEMO_STUDIES if study.folder == "16-chest-cut-off"]
    assert header(study.files[0]).Modality == "CR"
    with pytest.raises(UndecodableError):
        list(read_frames(study.files[0], [1], maximum_megapixels=10))


def test_the_stat_study_says_so_in_its_header() -> None:
    stat = [study.folder for study in DEMO_STUDIES if header(study.files[0]).get("RequestedProcedurePriority") == "STAT"]
    assert stat == ["03-chest-effusion-stat"]
