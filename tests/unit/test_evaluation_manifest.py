"""Tables of labelled images: what they may say, and how a mistake in them is told."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from config import ConfigurationError, load
from dicom_node.evaluation.manifest import FALSE, TRUE, UNKNOWN, read_labelled_data, sampled, with_something_known
from tests.labelled import prompt_set

SHARED = os.environ.get("DICOM_NODE_SHARED")
LABELS = Path(__file__).parents[1] / "bench" / "labels" / "development-set.yaml"


KINDS = prompt_set("kinds", "multi-class-softmax", "hand", "chest")
FAULTS = prompt_set("faults", "pair-softmax", "blurred", "noisy")


@pytest.fixture
def read(tmp_path):
    """Read a table, and label rules if there are any, given as text."""

    def reading(table, rules=None, *, prompt_sets=(KINDS, FAULTS), split=None):
        (tmp_path / "table.csv").write_text(table)
        rules_file = None
        if rules is not None:
            rules_file = tmp_path / "rules.yaml"
            rules_file.write_text(rules)
        return read_labelled_data(tmp_path / "table.csv", prompt_sets, installed=(KINDS, FAULTS), rules_file=rules_file, split=split)

    return reading


def mistakes(read, table, rules=None, **how):
    with pytest.raises(ConfigurationError) as told:
        read(table, rules, **how)
    return [f"{Path(one.file).name}:{one.line}: {one.field}: {one.message}" for one in told.value.mistakes]


def test_a_choice_is_true_of_one_label_and_false_of_the_others(read):
    truth = read("path,kinds\na.png,hand\nb.png,\nc.png,none-of-these\n").truth("kinds")
    assert truth.exclusive
    assert truth.values.tolist() == [[TRUE, FALSE], [UNKNOWN, UNKNOWN], [FALSE, FALSE]]


def test_a_column_called_label_will_do_where_nothing_else_could_be_meant(read):
    assert read("path,label\na.png,chest\n").truth("kinds").values.tolist() == [[FALSE, TRUE]]
    other = prompt_set("other-kinds", "multi-class-softmax", "hand")
    assert read("path,label\na.png,hand\n", prompt_sets=(KINDS, other)).truths == ()


def test_presence_is_one_nought_or_unknown(read):
    data = read("path,blurred,noisy\na.png,1,\nb.png,0,1\n")
    assert data.truth("faults").values.tolist() == [[TRUE, UNKNOWN], [FALSE, TRUE]]
    assert data.truth("kinds") is None


def test_an_image_has_a_path_beside_the_table_and_what_else_the_row_says(read, tmp_path):
    data = read("path,frame,patient,source,modality,clean,unusable_for,label\nsub/a.dcm,3,p1,here,ct,0,noisy; inverted,hand\n")
    (image,) = data.images
    assert (image.path, image.frame_number, image.line) == (tmp_path / "sub/a.dcm", 3, 2)
    assert (image.patient, image.source, image.modality) == ("p1", "here", "CT")
    assert (image.clean, image.unusable_for) == (False, {"noisy", "inverted"})
    assert data.sha256 == hashlib.sha256((tmp_path / "table.csv").read_bytes()).hexdigest()


def test_a_patient_is_the_same_only_within_one_source_and_images_without_one_stand_alone(read):
    data = read("path,patient,source,label\na,1,here,hand\nb,1,here,hand\nc,1,there,hand\nd,,here,hand\ne,,here,hand\n")
    groups = [image.group for image in data.images]
    assert groups[0] == groups[1]
    assert len(set(groups)) == 4


def test_only_the_rows_of_the_split_are_used(read):
    data = read("path,split,label\na,train,hand\nb,val,chest\n", split="val")
    assert [image.line for image in data.images] == [3]
    assert data.rows == 2
    assert mistakes(read, "path,split,label\na,train,hand\n", split="test") == [
        "table.csv:1: split: no row of the split 'test'; there are: train"
    ]


def test_images_of_which_nothing_is_known_are_left_out_and_a_limit_draws_at_random(read):
    data = with_something_known(read("path,label\n" + "".join(f"{n}.png,{'hand' if n % 2 else ''}\n" for n in range(100))))
    assert len(data.images) == 50
    few = sampled(data, 10, seed=1)
    assert [image.line for image in few.images] == sorted(image.line for image in few.images)
    assert [image.line for image in few.images] == [image.line for image in sampled(data, 10, seed=1).images]
    assert [image.line for image in few.images] != [image.line for image in sampled(data, 10, seed=2).images]
    assert few.truth("kinds").values.shape == (10, 2)
    assert sampled(data, 1000, seed=1) is data


def test_a_mistake_is_told_with_its_line_and_what_was_meant(read):
    assert mistakes(read, "path,label,blurred,unusable_for,clean\na.png,hamd,yes,nosy,maybe\n") == [
        "table.csv:2: blurred: 'yes' is neither 1, 0 nor empty",
        "table.csv:2: clean: 'maybe' is neither 1, 0 nor empty",
        "table.csv:2: label: prompt set kinds has no label 'hamd'; did you mean 'hand'?",
        "table.csv:2: unusable_for: there is no kind of degradation 'nosy'; did you mean 'noisy'?",
    ]


def test_the_same_mistake_in_many_rows_is_told_once(read):
    (told,) = mistakes(read, "path,label\n" + "a.png,foot\n" * 30)
    assert told.startswith("table.csv:2: label: prompt set kinds has no label 'foot'; known are: ")
    assert told.endswith("(and 29 more rows)")


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("file,label\na.png,hand\n", "table.csv:1: path: there is no such column; known are: file, label"),
        ("path,label\n", "table.csv:1: file: has no rows; the first line names the columns, each other line is an image"),
        ("path,path\na,b\n", "table.csv:1: file: names a column twice; rename one"),
        ("path,label\na.png\n", "table.csv:2: file: the row has 1 cells, the header 2; mind quotes and separators (commas)"),
        ("path,frame,label\na.dcm,0,hand\n", "table.csv:2: frame: '0' is no frame number; frames count from 1"),
        ("path,label\n,hand\n", "table.csv:2: path: is empty; give the file of the image"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_words(read, table, told):
    assert mistakes(read, table) == [told]


def test_a_table_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        read_labelled_data(tmp_path / "absent.csv", (KINDS,), installed=(KINDS,), rules_file=None, split=None)


FOREIGN = "file,modality,part,id\na.dcm,CR,HAND,1\nb.dcm,DX,CHEST,1\nc.dcm,CT,CHEST,2\nblurred.dcm,DX,CHEST,\n"
RULES = """
columns: {path: file, patient: id}
where: {modality: [CR, DX]}
choices:
  kinds:
    hand: {part: HAND}
    chest: {part: CHEST, not: {file: "blur*"}}
findings:
  faults:
    blurred: {present: {file: "blur*"}, absent: {}}
clean: {not: {file: "blur*"}}
unusable_for: {noisy: {modality: CR}}
"""


def test_rules_say_what_the_columns_of_another_table_mean(read):
    data = read(FOREIGN, RULES)
    assert [image.path.name for image in data.images] == ["a.dcm", "b.dcm", "blurred.dcm"]
    assert [image.patient for image in data.images] == ["1", "1", ""]
    assert [(image.clean, sorted(image.unusable_for)) for image in data.images] == [(True, ["noisy"]), (True, []), (False, [])]
    assert data.truth("kinds").values.tolist() == [[TRUE, FALSE], [FALSE, TRUE], [UNKNOWN, UNKNOWN]]
    assert data.truth("faults").values.tolist() == [[FALSE, UNKNOWN], [FALSE, UNKNOWN], [TRUE, UNKNOWN]]


def test_names_in_the_rules_that_nobody_has_are_told_with_their_line(read):
    rules = """
columns: {path: fil}
choices:
  kinds:
    hamd:
      party: HAND
  faults: {noisy: {}}
findings:
  fault:
    noisy: {present: {}}
unusable_for: {nosy: {}}
"""
    assert mistakes(read, FOREIGN, rules) == [
        "rules.yaml:2: columns.path: the table has no column 'fil'; did you mean 'file'?",
        "rules.yaml:5: choices.kinds.hamd: prompt set kinds has no label 'hamd'; did you mean 'hand'?",
        "rules.yaml:6: choices.kinds.hamd.party: the table has no column 'party'; did you mean 'part'?",
        "rules.yaml:7: choices.faults: faults is pair-softmax; choices are for multi-class-softmax, findings for pair-softmax",
        "rules.yaml:9: findings.fault: there is no prompt set 'fault'; did you mean 'faults'?",
        "rules.yaml:11: unusable_for.nosy: there is no kind of degradation 'nosy'; did you mean 'noisy'?",
    ]


def test_rules_that_are_not_rules_are_told_with_their_line(read):
    assert mistakes(read, FOREIGN, "wher: {}\nchoices:\n  kinds:\n    hand:\n      part: 5\nfindings: {faults: {noisy: {}}}\n") == [
        "rules.yaml:1: wher: unknown field; did you mean 'where'?",
        "rules.yaml:5: choices.kinds.hand[0].part[0]: 5 is not text as YAML reads it; put the value in quotes",
        "rules.yaml:6: findings.faults.noisy: says nothing; give present, absent or both",
    ]


def test_an_image_that_the_rules_call_two_things_is_a_mistake(read):
    told = mistakes(read, "path\na\nb\n", "choices: {kinds: {hand: {path: a}, chest: {path: '*'}}}")
    assert told == ["table.csv:2: kinds: is hand and chest by the label rules; an image is one of them; add what tells them apart"]


@pytest.mark.skipif(SHARED is None, reason="needs the larger collection of files")
def test_the_rules_for_the_development_set_fit_it_and_the_prompts_that_ship():
    shipped = load(None)[1].prompt_sets
    table = Path(SHARED or "") / "data" / "MANIFEST.csv"
    data = with_something_known(read_labelled_data(table, shipped, installed=shipped, rules_file=LABELS, split=None))
    truth = data.truth("kind-of-image")
    counts = dict(zip(truth.labels, np.count_nonzero(truth.values == TRUE, axis=0).tolist(), strict=True))
    assert (counts["chest-radiograph"], counts["dermoscopic-image"], counts["histology"]) == (67, 60, 44)
    assert all(image.path.is_file() for image in data.images)
