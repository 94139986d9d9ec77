"""`dicom-node retract` and `rerun`, as an administrator types them."""

import json

import pytest
from typer.testing import CliRunner

from config import load
from dicom_node import steps
from dicom_node.commands import app
from dicom_node.commands.opening import open_node
from tests.builders import uid
from tests.node.running import write_settings
from tests.unit.test_withdrawal import arrive, report

RUNNER = CliRunner()


@pytest.fixture
def settings_file(tmp_path):
    return write_settings(tmp_path)


@pytest.fixture
def node(settings_file):
    node = open_node(*load(settings_file))
    yield node
    node.ledger.close()


@pytest.fixture
def study(node, tmp_path):
    study = uid()
    arrive(node, tmp_path, study, sop="1.2.3.1", PatientID="CANARY-ID")
    report(node)
    return study


def call(settings_file, *arguments):
    return RUNNER.invoke(app, [*arguments, "--config", str(settings_file)])


def test_retracting_says_what_it_did_and_the_second_time_that_nothing_is_left(settings_file, node, study):
    first = call(settings_file, "retract", study, "--why", "images of another patient")
    assert (first.exit_code, "withdrawn under chest-radiograph" in first.stdout) == (0, True)
    report(node)
    again = call(settings_file, "retract", study, "--why", "images of another patient", "--json")
    assert json.loads(again.stdout) == {"study_instance_uid": study, "withdrawn_routes": []}


def test_retracting_needs_a_reason(settings_file, study):
    assert call(settings_file, "retract", study).exit_code == 2
    assert call(settings_file, "retract", study, "--why", " ").exit_code == 2


def test_an_unknown_study_cannot_be_retracted_or_rerun(settings_file, node):
    for command in (("retract", uid(), "--why", "a reason"), ("rerun", uid())):
        done = call(settings_file, *command)
        assert (done.exit_code, "never arrived here" in done.output) == (1, True)


def test_a_rerun_under_one_route_makes_a_new_revision_there(settings_file, node, study):
    done = call(settings_file, "rerun", study, "--route", "chest-radiograph", "--why", "new prompt set", "--json")
    assert json.loads(done.stdout) == {"study_instance_uid": study, "revision": 2, "route": "chest-radiograph"}
    assert steps.route(node) == 1


def test_a_rerun_under_a_route_that_does_not_exist_names_those_that_do(settings_file, study):
    done = call(settings_file, "rerun", study, "--route", "nonsense")
    assert (done.exit_code, "chest-radiograph" in done.output) == (2, True)
