"""Degraded on purpose: which clean images are taken, into which faults, and whether the figures say what the scores do."""

import numpy as np
import pytest
from PIL import Image

from config import load
from dicom_node.evaluation.answers import Answers, ask, scores_of
from dicom_node.evaluation.degraded import STRENGTHS, fault_of, plan, study
from dicom_node.evaluation.manifest import LabelledData, Truth
from dicom_node.evaluation.pictures import read_picture
from inference.damage.degradations import KINDS, WITHOUT_STRENGTH, applies
from inference.engine import Engine
from tests.embedded import MODEL, THRESHOLD, TURNS, UPRIGHT, chest, with_quality
from tests.labelled import labelled, varied

CATALOGUE = with_quality(load(None)[1])
MANIFEST = CATALOGUE.manifest(MODEL)
GATE, QUALITY = (CATALOGUE.prompt_set(name) for name in ("kind-of-image", "image-quality"))
LABELS = [label.name for label in QUALITY.labels]


def truth_of(prompt_set, true):
    """What is known: of each image one label of a prompt set, or None."""
    labels = tuple(label.name for label in prompt_set.labels)
    values = [[-1 if name is None else int(name == label) for label in labels] for name in true]
    return Truth(prompt_set=prompt_set.name, labels=labels, exclusive=True, values=np.array(values, dtype=np.int8))


def answers(tmp_path, kinds, *, faults=None, **facts):
    """Images of these kinds that were shown to a model; what it answered does not matter to the plan."""
    images = tuple(
        labelled(tmp_path / f"{row}.png", line=row + 2, **{name: of[row] for name, of in facts.items()}) for row in range(len(kinds))
    )
    truths = (truth_of(GATE, kinds), *((truth_of(QUALITY, faults),) if faults else ()))
    data = LabelledData(path=tmp_path / "table.csv", sha256="", rows=len(images), images=images, truths=truths)
    nothing = np.zeros((len(images), 0), dtype=np.float32)
    return Answers(data=data, names=tuple(image.path.name for image in images), embeddings=nothing, pixels=nothing, left_out=())


def rows(planned, kind):
    return sorted({version.row for version in planned.versions if version.kind == kind})


def test_an_image_is_degraded_where_the_fault_can_be_decided_and_the_manifest_has_it_asked(tmp_path):
    kinds = ["chest-radiograph", "hand-radiograph", "blood-smear", "photograph"]
    planned = plan(answers(tmp_path, kinds), MANIFEST, QUALITY, GATE)
    assert UPRIGHT == ("chest-radiograph", "brain-mr")
    assert [rows(planned, kind) for kind in TURNS] == [[0]] * 3
    assert rows(planned, "inverted") == [0, 1]
    assert rows(planned, "noisy") == [0, 1, 2]
    for version in planned.versions:
        assert applies(version.kind, kinds[version.row])


def test_false_alarms_are_counted_wherever_the_node_asks(tmp_path):
    """Nobody can say that a blood smear is inverted; the manifest has it asked all the same, so an alarm there is a false one."""
    planned = plan(answers(tmp_path, ["chest-radiograph", "blood-smear", "photograph"]), MANIFEST, QUALITY, GATE)
    inverted = KINDS.index("inverted")
    assert (planned.judged[inverted], planned.asked[inverted]) == ({0}, {0, 1})


def test_every_strength_is_made_and_kinds_without_one_are_made_once(tmp_path):
    planned = plan(answers(tmp_path, ["chest-radiograph"]), MANIFEST, QUALITY, GATE)
    for kind in KINDS:
        strengths = [version.strength for version in planned.versions if version.kind == kind]
        assert strengths == ([1.0] if kind in WITHOUT_STRENGTH else list(STRENGTHS))


def test_images_with_a_fault_of_their_own_or_of_an_unknown_kind_are_not_degraded(tmp_path):
    given = answers(
        tmp_path,
        ["chest-radiograph"] * 3 + [None],
        faults=["noisy", None, None, None],
        clean=[True, False, True, True],
        unusable_for=[frozenset(), frozenset(), frozenset({"inverted"}), frozenset()],
    )
    planned = plan(given, MANIFEST, QUALITY, GATE)
    assert rows(planned, "blurred") == [2]
    assert rows(planned, "inverted") == []


@pytest.fixture(scope="module")
def engine():
    return Engine(CATALOGUE, device="cpu", batch_size=32, cache_folder=None)


@pytest.fixture(scope="module")
def shown(engine, tmp_path_factory):
    """Four radiographs that were shown to the model."""
    folder = tmp_path_factory.mktemp("degraded")
    given = answers(folder, ["chest-radiograph"] * 4, patient=["a", "a", "b", "c"])
    rng = np.random.default_rng(0)
    for image in given.data.images:
        Image.fromarray(np.rint(varied(chest(), rng) * 255).astype(np.uint8)).save(image.path)
    return ask(engine, MANIFEST, given.data, maximum_megapixels=1, progress=lambda: None)


@pytest.fixture(scope="module")
def found(engine, shown):
    return studied(engine, shown)


def studied(engine, shown, *, manifest=MANIFEST, seed=0):
    counted = []
    planned = plan(shown, manifest, QUALITY, GATE)
    found = study(engine, manifest, shown, planned, maximum_megapixels=1, seed=seed, progress=lambda: counted.append(1))
    assert len(counted) == len(planned.versions)
    return found


def test_each_fault_is_measured_against_the_same_images_undegraded(engine, shown, found):
    assert {kind.kind for kind in found.kinds} == {kind for kind in KINDS if applies(kind, "chest-radiograph")}
    assert found.images == 4
    for kind in found.kinds:
        clean = scores_of(engine, MODEL, QUALITY.name, shown.embeddings)[:, LABELS.index(kind.kind)]
        assert kind.strengths[0].mean_score == pytest.approx(np.mean(clean))
        assert kind.strengths[0].auroc is None
        assert kind.false_alarms.value == np.mean(clean >= THRESHOLD)
        assert (kind.threshold, kind.threshold_source) == (THRESHOLD, "the model's manifest")
        assert (kind.rank_of_means is None) == (kind.kind in WITHOUT_STRENGTH)
        by_strength = {step.strength: step.auroc for step in kind.strengths}
        assert kind.medium.value == by_strength[1.0 if kind.kind in WITHOUT_STRENGTH else 0.5]


def test_rotated_images_are_compared_with_upright_ones_by_kind_of_image(found):
    (rotated,) = found.rotated
    assert (rotated.image_kind, rotated.images) == ("chest-radiograph", 4)
    assert 0 <= rotated.auroc.value <= 1


def test_the_same_seed_makes_the_same_faults(engine, shown, found):
    assert studied(engine, shown) == found
    assert studied(engine, shown, seed=1) != found


def test_without_a_threshold_the_lowest_with_one_per_cent_false_alarms_is_taken(engine, shown):
    found = studied(engine, shown, manifest=MANIFEST.model_copy(update={"quality": None}))
    assert {kind.false_alarms.value for kind in found.kinds} == {0}
    assert {kind.threshold_source for kind in found.kinds} == {"at most 1 % false alarms, chosen on these same images"}
    assert found.any_false_alarm.value == 0


def test_a_fault_grows_with_its_strength_and_leaves_the_original_alone(shown):
    image = shown.data.images[0]
    frame = read_picture(image, maximum_megapixels=1).frame
    before = frame.pixels.copy()
    versions = [version for version in plan(shown, MANIFEST, QUALITY, GATE).versions if version.kind == "noisy" and version.row == 0]
    changes = [np.abs(fault_of(frame, image, version, seed=0).pixels - before).mean() for version in versions]
    assert changes == sorted(changes)
    assert changes[0] > 0
    assert (frame.pixels == before).all()
