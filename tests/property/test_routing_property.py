"""Whatever a header holds, routing answers; rules go in order; every instance is accounted for exactly once."""

import io
import logging
import os
import struct
from pathlib import Path

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset

from config import load
from config.routes import RouteRule
from dicom_node.routing.explanation import explain
from dicom_node.routing.rules import RoutableInstance, route_study

SHIPPED = load(None)[1].routes
SHARED = os.environ.get("DICOM_NODE_SHARED")

KEYWORDS = ["Modality", "BodyPartExamined", "SeriesInstanceUID", "ImageType", "SOPClassUID", "ProtocolName"]
VALUES = ["CT", "MR", "DX", "CHEST", "HEAD", "LOCALIZER", "DERIVED", "SECONDARY", "1", "2", "1.2.840.10008.5.1.4.1.1.11.1", ""]

TAGS = [
    (0x0002, 0x0010),
    (0x0008, 0x0005),
    (0x0008, 0x0008),
    (0x0008, 0x0016),
    (0x0008, 0x0060),
    (0x0008, 0x1030),
    (0x0008, 0x103E),
    (0x0008, 0x2218),
    (0x0018, 0x0015),
    (0x0018, 0x1030),
    (0x0020, 0x000E),
    (0x0028, 0x0008),
    (0x0040, 0x0275),
]
VRS = ["AE", "AT", "CS", "DS", "IS", "LO", "OB", "OW", "PN", "SQ", "UI", "UN", "US", "FD", "DA", "XX", "UT"]


def element(tag: tuple[int, int], vr: str, value: bytes) -> bytes:
    """One explicit VR little endian element, whether its value fits its VR or not."""
    if vr in {"OB", "OW", "SQ", "UN", "UT"}:
        return struct.pack("<HH2sHI", *tag, vr.encode(), 0, len(value)) + value
    return struct.pack("<HH2sH", *tag, vr.encode(), len(value)) + value


elements = st.builds(element, st.sampled_from(TAGS), st.sampled_from(VRS), st.binary(max_size=40))
plain_headers = st.dictionaries(st.sampled_from(KEYWORDS), st.sampled_from(VALUES))
matches = st.builds(lambda keyword, value: {"attribute": keyword, "equals": value}, st.sampled_from(KEYWORDS), st.sampled_from(VALUES))
excludes = st.builds(lambda when: {"reason": "left out", "when": when}, st.lists(matches, min_size=1, max_size=2))


@st.composite
def rules(draw: st.DrawFn) -> tuple[RouteRule, ...]:
    return tuple(
        RouteRule.model_validate(
            {
                "name": f"rule-{number}",
                "when": draw(st.lists(matches, max_size=2)),
                "exclude": draw(st.lists(excludes, max_size=2)),
                "select": draw(st.sampled_from(["every-instance", "largest-series"])),
                "no_analysis": draw(st.sampled_from(["", "", "not wanted"])),
            }
        )
        for number in range(draw(st.integers(1, 5)))
    )


def plain(values: dict[str, str]) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        tag = tag_for_keyword(keyword)
        assert tag is not None
        dataset.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=IGNORE))
    return dataset


def routable(headers: list[Dataset]) -> list[RoutableInstance[int]]:
    return [RoutableInstance(header=header, calling_ae_title="CT1", carried=number) for number, header in enumerate(headers)]


def parsed(data: bytes) -> Dataset | None:
    try:
        return read_dataset(io.BytesIO(data), is_implicit_VR=False, is_little_endian=True)
    except Exception:  # noqa: BLE001 - what pydicom cannot split into elements never reaches routing
        return None


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(elements, max_size=12))
def test_any_header_is_routed_somewhere(parts: list[bytes]) -> None:
    in_order = sorted(parts, key=lambda part: struct.unpack("<HH", part[:4]))
    header = parsed(b"".join(in_order))
    if header is None:
        return
    (routed,) = route_study(routable([header]), SHIPPED)
    assert [one.carried for one in routed.selected] == [0]
    assert explain(routable([header]), SHIPPED)[-1].route.name == "not-analysed"


@settings(max_examples=100, deadline=None)
@given(st.lists(plain_headers, max_size=6), rules())
def test_no_instance_is_lost_or_taken_twice(headers: list[dict[str, str]], routes: tuple[RouteRule, ...]) -> None:
    instances = routable([plain(values) for values in headers])
    routed = route_study(instances, routes)
    selected = [one.carried for study in routed for one in study.selected]
    left_out = [out.instance.carried for study in routed if not study.route.no_analysis for out in study.left_out]
    assert len(selected) == len(set(selected))
    if any(not study.route.no_analysis for study in routed):
        assert sorted(selected + left_out) == list(range(len(headers)))
    else:
        assert left_out == []
    assert all(study.selected for study in routed)


@settings(max_examples=100, deadline=None)
@given(st.lists(plain_headers, min_size=1, max_size=6), rules())
def test_routes_answer_in_the_order_of_the_rules_and_the_rest_ends_in_the_last(
    headers: list[dict[str, str]], routes: tuple[RouteRule, ...]
) -> None:
    last = RouteRule.model_validate({"name": "last", "no_analysis": "nothing takes it"})
    instances = routable([plain(values) for values in headers])
    routed = route_study(instances, (*routes, last))
    order = [route.name for route in (*routes, last)]
    positions = [order.index(study.route.name) for study in routed]
    assert positions == sorted(set(positions))
    named = {one.carried for study in routed for one in study.selected}
    named |= {out.instance.carried for study in routed for out in study.left_out}
    assert named == set(range(len(headers)))


@settings(max_examples=60, deadline=None)
@given(st.lists(plain_headers, min_size=1, max_size=5), rules(), st.randoms(use_true_random=False))
def test_the_order_of_arrival_decides_nothing(headers: list[dict[str, str]], routes: tuple[RouteRule, ...], shuffler: object) -> None:
    instances = routable([plain(values) for values in headers])
    again = list(instances)
    shuffler.shuffle(again)  # type: ignore[attr-defined]  # Hypothesis gives a random.Random
    assert _as_sets(instances, routes) == _as_sets(again, routes)


def _as_sets(instances: list[RoutableInstance[int]], routes: tuple[RouteRule, ...]) -> list[tuple[str, set[int], set[tuple[int, str]]]]:
    return [
        (
            study.route.name,
            {one.carried for one in study.selected},
            {(out.instance.carried, out.reason) for out in study.left_out},
        )
        for study in route_study(instances, routes)
    ]


@pytest.mark.skipif(not SHARED, reason="DICOM_NODE_SHARED is not set")
@pytest.mark.filterwarnings("ignore")
def test_every_real_file_is_routed() -> None:
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    files = sorted(path for path in (Path(SHARED or "") / "data" / "dicom").rglob("*") if path.is_file())
    assert files
    for path in files:
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
        except InvalidDicomError:
            header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        (routed,) = route_study(routable([header]), SHIPPED)
        assert len(routed.selected) == 1, path.name
