"""Which instances of a study go to which route, and what becomes of the others."""

from collections.abc import Iterable
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from config import load
from config.routes import Match, RouteRule
from dicom_node.routing.attributes import Header, holds
from dicom_node.routing.rules import NO_ROUTE, NOT_THE_LARGEST_SERIES, RoutableInstance, RoutedStudy, route_study

SHIPPED = load(None)[1].routes

CT, MR, DX, US = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "4", "1.1", "6.1"))
SC, SR, KOS, GSPS, SEG = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("7", "88.33", "88.59", "11.1", "66.4"))
RTPLAN, DOSE_SR, SM = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("481.5", "88.67", "77.1.6"))


def header(**attributes: object) -> Dataset:
    dataset = Dataset()
    dataset.PatientName = "CANARY^PHI"
    dataset.PatientID = "CANARY-ID"
    dataset.SOPInstanceUID = generate_uid()
    dataset.SeriesInstanceUID = "1.2.3"
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset


def instance(name: str, *, sender: str = "CT1", **attributes: object) -> RoutableInstance[str]:
    return RoutableInstance(header=header(**attributes), calling_ae_title=sender, carried=name)


def route(*instances: RoutableInstance[str], routes: Iterable[RouteRule] = SHIPPED) -> dict[str, tuple[list[str], dict[str, str]]]:
    """For each route the names it selects, and the names it leaves out with the reasons."""
    return {routed.route.name: _told(routed) for routed in route_study(instances, tuple(routes))}


def _told(routed: RoutedStudy[str]) -> tuple[list[str], dict[str, str]]:
    return [one.carried for one in routed.selected], {out.instance.carried: out.reason for out in routed.left_out}


def rule(name: str, **fields: object) -> RouteRule:
    return RouteRule.model_validate({"name": name, **fields})


def match(**fields: object) -> Match:
    return Match.model_validate(fields)


def is_true(of: Dataset, **fields: object) -> bool:
    return holds(match(**fields), Header(of))


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"Modality": "DX", "BodyPartExamined": "CHEST", "SOPClassUID": DX}, "chest-radiograph"),
        ({"Modality": "CR", "BodyPartExamined": "Thorax"}, "chest-radiograph"),
        ({"Modality": "DX", "BodyPartExamined": "RIBCAGE"}, "chest-radiograph"),
        ({"Modality": "DX", "StudyDescription": "XR CHEST PA/LAT"}, "chest-radiograph"),
        ({"Modality": "DX", "SeriesDescription": "W_CHEST_PA"}, "chest-radiograph"),
        ({"Modality": "CR", "BodyPartExamined": "CHEST", "SOPClassUID": SC, "ConversionType": "WSD"}, "chest-radiograph"),
        ({"Modality": "DX", "BodyPartExamined": "HAND"}, "hand-radiograph"),
        ({"Modality": "CR", "StudyDescription": "bone age"}, "hand-radiograph"),
        ({"Modality": "DX", "BodyPartExamined": "KNEE"}, "knee-radiograph"),
        ({"Modality": "CR", "StudyDescription": "XR KNEES STANDING"}, "knee-radiograph"),
        ({"Modality": "DX", "BodyPartExamined": "SHOULDER"}, "shoulder-radiograph"),
        ({"Modality": "DX", "BodyPartExamined": "FOOT"}, "other-radiograph"),
        ({"Modality": "DX", "StudyDescription": "manchester study"}, "other-radiograph"),
        ({"Modality": "CT", "BodyPartExamined": "HEAD"}, "head-ct"),
        ({"Modality": "CT", "StudyDescription": "CT, HEAD/BRAIN WO CONTRAST"}, "head-ct"),
        ({"Modality": "CT", "StudyDescription": "CT CHEST WO IV CONT"}, "chest-ct"),
        ({"Modality": "CT", "StudyDescription": "CODE_T_CT_ANGIO_ABD_AND_PEL"}, "abdomen-ct"),
        ({"Modality": "CT", "BodyPartExamined": "ABDOMEN"}, "abdomen-ct"),
        ({"Modality": "CT"}, "other-ct"),
        ({"Modality": "MR", "BodyPartExamined": "BREAST"}, "breast-mr"),
        ({"Modality": "MR", "BodyPartExamined": "KNEE"}, "knee-mr"),
        ({"Modality": "MR", "BodyPartExamined": "BRAIN"}, "brain-mr"),
        ({"Modality": "MR", "StudyDescription": "MRI L-SPINE WO"}, "spine-mr"),
        ({"Modality": "MR", "BodyPartExamined": "LSPINE"}, "spine-mr"),
        ({"Modality": "MR", "StudyDescription": "Cardiac MR with stress"}, "cardiac-mr"),
        ({"Modality": "MR", "BodyPartExamined": "LIVER"}, "abdomen-mr"),
        ({"Modality": "MR", "BodyPartExamined": "FOOT"}, "other-mr"),
        ({"Modality": "MG"}, "mammography"),
        ({"Modality": "US", "SOPClassUID": US}, "ultrasound"),
        ({"Modality": "XA"}, "angiography"),
        ({"Modality": "PT"}, "nuclear-medicine"),
        ({"Modality": "XC"}, "photography"),
        ({"Modality": "XC", "StudyDescription": "Dermatoscopy left arm"}, "dermoscopy"),
        ({"Modality": "DMS"}, "dermoscopy"),
        ({"Modality": "ES"}, "endoscopy"),
        ({"Modality": "ES", "BodyPartExamined": "COLON"}, "colonoscopy"),
        ({"Modality": "ES", "StudyDescription": "Gastroscopy"}, "endoscopy"),
        ({"Modality": "US", "SOPClassUID": US, "BodyPartExamined": "BREAST"}, "breast-ultrasound"),
        ({"Modality": "XC", "StudyDescription": "Skin lesion, left arm"}, "skin-photograph"),
        ({"Modality": "XC", "StudyDescription": "Wound documentation"}, "photography"),
        ({"Modality": "OP"}, "fundus-photograph"),
        ({"Modality": "OPT"}, "ophthalmology"),
        ({"Modality": "SM", "SOPClassUID": SM}, "microscopy"),
        ({"Modality": "OT", "SOPClassUID": SC}, "secondary-capture"),
        ({"Modality": "SR", "SOPClassUID": SR}, "not-analysed"),
        ({}, "not-analysed"),
    ],
)
def test_a_study_of_one_instance_goes_where_its_header_says(attributes: dict[str, Any], expected: str) -> None:
    assert list(route(instance("a", **attributes))) == [expected]


def test_coded_anatomy_is_read_where_body_part_is_missing() -> None:
    item = Dataset()
    item.CodeMeaning = "Chest"
    assert list(route(instance("a", Modality="DX", AnatomicRegionSequence=[item]))) == ["chest-radiograph"]


def test_objects_beside_the_images_do_not_become_a_second_report() -> None:
    found = route(
        instance("image", Modality="DX", BodyPartExamined="CHEST", SOPClassUID=DX),
        instance("marks", Modality="PR", SOPClassUID=GSPS),
        instance("key", Modality="KO", SOPClassUID=KOS),
        instance("report", Modality="SR", SOPClassUID=SR),
        instance("capture", Modality="OT", SOPClassUID=SC),
    )
    assert found == {
        "chest-radiograph": (
            ["image"],
            {
                "capture": "secondary capture of unknown origin",
                "marks": "presentation state",
                "key": "key object selection",
                "report": "structured report",
            },
        )
    }


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"SeriesDescription": "Scout"}, "localizer"),
        ({"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED"]}, "derived image (reformat, projection or screen capture)"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "screen capture"),
        ({"SeriesDescription": "Dose Report"}, "dose report"),
        ({"SOPClassUID": DOSE_SR, "Modality": "SR"}, "dose report"),
        ({"SOPClassUID": SEG, "Modality": "SEG"}, "segmentation"),
        ({"SOPClassUID": RTPLAN, "Modality": "RTPLAN"}, "radiotherapy plan, dose or structure set"),
    ],
)
def test_what_is_no_slice_of_a_ct_is_left_out_with_its_reason(attributes: dict[str, Any], reason: str) -> None:
    other: dict[str, Any] = {"Modality": "CT", "SOPClassUID": CT, **attributes}
    found = route(instance("slice", Modality="CT", SOPClassUID=CT, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"]), instance("other", **other))
    assert found == {"other-ct": (["slice"], {"other": reason})}


def test_a_study_with_nothing_to_analyse_is_reported_as_such_with_the_reasons() -> None:
    found = route(
        instance("scout", Modality="CT", SOPClassUID=CT, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
        instance("strange", Modality="ZZ", SOPClassUID="1.2.3.4"),
    )
    assert found == {"not-analysed": (["scout", "strange"], {"scout": "localizer"})}


def test_only_the_largest_series_of_a_ct_is_analysed() -> None:
    slices = [instance(f"b{number}", Modality="CT", SeriesInstanceUID="2") for number in range(3)]
    found = route(instance("a0", Modality="CT", SeriesInstanceUID="1"), *slices)
    assert found == {"other-ct": (["b0", "b1", "b2"], {"a0": NOT_THE_LARGEST_SERIES})}


def test_frames_count_for_the_size_of_a_series() -> None:
    slices = [instance(f"b{number}", Modality="CT", SeriesInstanceUID="2") for number in range(3)]
    found = route(*slices, instance("multi", Modality="CT", SeriesInstanceUID="3", NumberOfFrames=4))
    assert found["other-ct"][0] == ["multi"]


def test_of_two_series_of_one_size_the_same_is_taken_whatever_came_first() -> None:
    one, two = instance("one", Modality="CT", SeriesInstanceUID="1"), instance("two", Modality="CT", SeriesInstanceUID="2")
    assert route(one, two)["other-ct"][0] == route(two, one)["other-ct"][0] == ["one"]


def test_parts_of_a_study_may_go_to_different_routes() -> None:
    found = route(instance("ct", Modality="CT", BodyPartExamined="CHEST"), instance("dx", Modality="DX", BodyPartExamined="CHEST"))
    assert {name: selected for name, (selected, _) in found.items()} == {"chest-radiograph": ["dx"], "chest-ct": ["ct"]}


def test_earlier_rules_go_first() -> None:
    every = rule("every")
    ct = rule("ct", when=[{"attribute": "Modality", "equals": "CT"}])
    assert list(route(instance("a", Modality="CT"), routes=[ct, every])) == ["ct"]
    assert list(route(instance("a", Modality="CT"), routes=[every, ct])) == ["every"]


def test_a_rule_that_would_leave_out_everything_passes_the_study_on() -> None:
    picky = rule("picky", exclude=[{"reason": "too old", "when": [{"attribute": "Modality", "equals": "CT"}]}])
    assert route(instance("a", Modality="CT"), routes=[picky, rule("next")]) == {"next": (["a"], {})}


def test_an_operator_can_keep_a_scanner_away_from_the_models() -> None:
    away = rule("research-scanner", calling_ae_titles=["RESEARCH"], no_analysis="research scanner")
    ct = rule("ct", when=[{"attribute": "Modality", "equals": "CT"}])
    assert route(instance("a", sender="RESEARCH", Modality="CT"), routes=[away, ct]) == {"research-scanner": (["a"], {})}
    both = route(instance("a", sender="RESEARCH ", Modality="CT"), instance("b", Modality="CT"), routes=[away, ct])
    assert both == {"ct": (["b"], {"a": "research scanner"})}


def test_instances_that_no_rule_takes_are_named_by_the_report_that_there_is() -> None:
    ct = rule("ct", when=[{"attribute": "Modality", "equals": "CT"}])
    assert route(instance("a", Modality="CT"), instance("b", Modality="MR"), routes=[ct]) == {"ct": (["a"], {"b": NO_ROUTE})}


def test_a_study_without_instances_goes_nowhere() -> None:
    assert route() == {}


def test_values_are_compared_without_padding_and_any_of_several_counts() -> None:
    of = header(ImageType=["DERIVED ", " PRIMARY"], Modality="CT ")
    assert is_true(of, attribute="Modality", equals="CT")
    assert is_true(of, attribute="ImageType", equals="PRIMARY")
    assert is_true(of, attribute="ImageType", one_of=["X", "DERIVED"])
    assert not is_true(of, attribute="ImageType", equals="SECONDARY")


def test_ranges_compare_numbers_with_both_ends() -> None:
    of = header(KVP="120.0", Rows=512, SeriesDescription="nan")
    assert is_true(of, attribute="KVP", range=[120, 140])
    assert is_true(of, attribute="Rows", range=[1, 512])
    assert not is_true(of, attribute="Rows", range=[513, 600])
    assert not is_true(of, attribute="SeriesDescription", range=[0, 1])
    assert not is_true(of, attribute="StudyDescription", range=[0, 1])


def test_present_means_there_and_not_empty() -> None:
    of = header(StudyDescription="", Modality="CT", AnatomicRegionSequence=[Dataset()])
    assert is_true(of, attribute="Modality", present=True)
    assert is_true(of, attribute="AnatomicRegionSequence", present=True)
    assert is_true(of, attribute="StudyDescription", present=False)
    assert is_true(of, attribute=["StudyDescription", "SeriesDescription"], present=False)
    assert not is_true(of, attribute=["StudyDescription", "Modality"], present=False)


def test_attributes_are_named_by_keyword_by_number_by_path_and_in_the_file_meta() -> None:
    item = Dataset()
    item.ScheduledProcedureStepDescription = "CT CHEST"
    of = header(RequestAttributesSequence=[Dataset(), item])
    of.file_meta = FileMetaDataset()
    of.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    of.add_new(0x00191008, "UN", b"MOSAIC\0")
    assert is_true(of, attribute="RequestAttributesSequence.ScheduledProcedureStepDescription", matches="CHEST")
    assert is_true(of, attribute="00400275.00400007", equals="CT CHEST")
    assert is_true(of, attribute="00191008", equals="MOSAIC")
    assert is_true(of, attribute="TransferSyntaxUID", equals="1.2.840.10008.1.2.1")
    assert not is_true(of, attribute="AnatomicRegionSequence.CodeMeaning", present=True)


def test_a_long_value_is_only_read_at_its_beginning() -> None:
    of = header(StudyDescription="a" * 5000 + "CHEST")
    assert not is_true(of, attribute="StudyDescription", matches="CHEST")
    assert is_true(of, attribute="StudyDescription", matches="^a{1024}$")
