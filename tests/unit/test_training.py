"""Training of the embedded model: on a pack of a few images, in seconds, with the real loop."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet
from safetensors.torch import load_file

from config.catalogue import weights_folder
from inference.embedded.training.curve import PICTURE_FILE, draw_curve
from inference.embedded.training.export import export_validation
from inference.embedded.training.neighbours import Neighbours
from inference.embedded.training.objective import ask, prompts
from inference.embedded.training.pack import PackError, PackRow, read_pack
from inference.embedded.training.run import Plan, TrainingError, train
from inference.embedded.training.tower import build
from inference.embedded.training.views import FALSE, SIDE, TRUE, UNKNOWN, make_view, possible_faults
from inference.embedded.training.vocabulary import WEIGHTS_FILE, words_of
from inference.embedded.training.words import CLAIM_NUMBER, CLAIMS, FINDINGS, KIND_NUMBER, KINDS_OF_IMAGE, WORDINGS, caption
from tests.embedded import chest

WORDS = weights_folder("package:inference/embedded/gatekeeper")
PLAN = Plan(
    passes=2,
    refining_passes=1,
    images_a_pass=16,
    batch_size=8,
    captions=4,
    workers=0,
    small_side=64,
    small_share=0.5,
    mixed_precision=False,
)


def row(**changes: object) -> PackRow:
    file = io.BytesIO()
    Image.fromarray((chest()[::2, ::2] * 255).astype(np.uint8)).save(file, "JPEG")
    known = PackRow(
        image=file.getvalue(),
        kind="chest-radiograph",
        modality="CR",
        dataset="a hospital",
        source_path="1.png",
        patient="1",
        group="1",
        finding="normal",
        upright=True,
        altered=False,
        small=False,
    )
    return replace(known, **changes)  # type: ignore[arg-type]


ROWS = (row(), row(kind="blood-smear", modality="SM", upright=False, finding=None), row(kind="document", modality="DOC", finding=None))


def trained(output: Path, plan: Plan = PLAN) -> dict[str, torch.Tensor]:
    train(ROWS, WORDS, output, plan, on_step=lambda _step, _steps, _loss: None)
    return load_file(output / WEIGHTS_FILE)


def pack(folder: Path, **changes: object) -> Path:
    one = {
        "image": row().image,
        "width": 128,
        "height": 128,
        "modality": "CR",
        "finding": "normal",
        "finding_known": True,
        "patient_key": "p1",
        "group_key": "g1",
        "dataset": "a hospital",
        "source_path": "1.png",
        "split": "val",
        "gate_class": "chest radiograph",
        "orient_ok": True,
        "source_aug": False,
    }
    folder.mkdir()
    parquet.write_table(pa.Table.from_pylist([one | changes]), folder / "pack.parquet")
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training from start to end."""
    folder = tmp_path_factory.mktemp("finished")
    trained(folder)
    return folder


@pytest.mark.parametrize("last_step", [pytest.param(3, marks=pytest.mark.slow), 5])
def test_two_trainings_give_the_same_weights_also_if_one_was_broken_off(finished: Path, tmp_path: Path, last_step: int) -> None:
    def break_off(step: int, _steps: int, _loss: float) -> None:
        if step == last_step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(ROWS, WORDS, tmp_path / "resumed", PLAN, on_step=break_off)
    resumed = trained(tmp_path / "resumed")
    whole = load_file(finished / WEIGHTS_FILE)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_training_keeps_the_word_vectors_and_changes_the_rest(finished: Path) -> None:
    after, before = load_file(finished / WEIGHTS_FILE), load_file(WORDS / WEIGHTS_FILE)
    assert torch.equal(after["token_embedding.weight"], before["token_embedding.weight"])
    assert not torch.equal(after["text_projection"], before["text_projection"])
    draw_curve(finished)
    assert "kind of image" in (finished / PICTURE_FILE).read_text(encoding="utf-8")


def test_the_learning_rate_rises_and_falls_twice() -> None:
    plan = Plan(passes=10, refining_passes=10)
    rates = [plan.learning_rate(at / 100) for at in range(2000)]
    assert rates[0] == rates[1000] == 0
    assert max(rates[:1000]) > max(rates[1000:]) > 100 * rates[999]


def test_words_are_moved_towards_their_neighbours_while_refining_only() -> None:
    model = build(words_of(WORDS))
    tokens = torch.randint(2, 20_000, (64, 32))
    neighbours, vectors = Neighbours(model), model.token_embedding.weight[tokens]
    assert torch.equal(model.token_embedding(tokens), vectors)
    neighbours.active = True
    moved = (model.token_embedding(tokens) - vectors).norm(dim=-1) > 0
    assert 0.1 < moved.float().mean() < 0.3
    assert torch.nn.functional.cosine_similarity(model.token_embedding(tokens), vectors, dim=-1).min() > 0.5
    model.eval()
    assert torch.equal(model.token_embedding(tokens), vectors)


def test_a_folder_with_another_plan_is_not_overwritten(finished: Path) -> None:
    before = (finished / WEIGHTS_FILE).read_bytes()
    with pytest.raises(TrainingError, match="another plan"):
        trained(finished, replace(PLAN, seed=1))
    assert (finished / WEIGHTS_FILE).read_bytes() == before


def test_words_that_are_held_back_are_never_trained_on() -> None:
    rng = np.random.default_rng(0)
    seen = {caption(kind, "seen", rng) for kind in KINDS_OF_IMAGE for _ in range(200)}
    assert not any(word in text for text in seen for word in ("thorax", "roentgenogram", "CAT scan", "what you see here"))
    assert any("thorax" in caption(KINDS_OF_IMAGE[0], "held-back words", rng) for _ in range(50))


@pytest.mark.parametrize("wording", WORDINGS)
def test_a_prompt_for_every_kind_and_two_for_every_claim(wording: str) -> None:
    texts = prompts(wording, np.random.default_rng(0))  # type: ignore[arg-type]
    assert len(texts) == len(KINDS_OF_IMAGE) + 2 * (len(CLAIMS) + len(FINDINGS))
    assert not any("{" in text for text in texts)


def test_a_caption_is_true_of_images_that_it_describes_and_unknown_where_nobody_knows() -> None:
    chest_number, smear = KIND_NUMBER["chest-radiograph"], KIND_NUMBER["blood-smear"]
    claims = np.full((3, len(CLAIMS)), UNKNOWN, dtype=np.int8)
    claims[0, CLAIM_NUMBER["blurred"]] = TRUE
    kinds = np.array([chest_number, chest_number, smear])
    asked = [ask(kinds, claims, np.random.default_rng(seed), captions=3) for seed in range(40)]
    blurred = [
        (questions.truth[:, column].tolist(), text)
        for questions in asked
        for column, text in enumerate(questions.texts[-questions.captioned :])
        if any(word in text for word in ("blur", "focus", "unsharp"))
    ]
    assert blurred
    assert all(truth == [TRUE, UNKNOWN, FALSE] for truth, _ in blurred)


def test_a_view_says_which_faults_were_made_and_only_what_can_be_known() -> None:
    rng = np.random.default_rng(0)
    views = [make_view(row(), rng) for _ in range(300)]
    assert all(view.pixels.shape == (SIDE, SIDE, 3) for view in views)
    made = np.stack([view.claims for view in views if view.kind == KIND_NUMBER["chest-radiograph"]])
    for name in ("rotated-90", "upside-down", "inverted", "noisy", "cropped", "burnt-in-text"):
        assert {TRUE, FALSE} <= set(made[:, CLAIM_NUMBER[name]].tolist())
    turned = (made[:, [CLAIM_NUMBER[name] for name in ("rotated-90", "upside-down", "rotated-270")]] == TRUE).any(axis=1)
    assert np.array_equal(made[:, CLAIM_NUMBER["rotated"]] == TRUE, turned)
    smear = row(kind="blood-smear", modality="SM", upright=False)
    assert not {"rotated-90", "upside-down", "cropped"} & set(possible_faults(smear))
    assert "blurred" not in possible_faults(row(small=True))
    assert possible_faults(row(altered=True)) == ()


def test_the_val_split_becomes_a_table_that_can_be_evaluated(tmp_path: Path) -> None:
    table = export_validation(pack(tmp_path / "pack"), tmp_path / "out").read_text(encoding="utf-8").splitlines()
    assert table[1].startswith("images/00000.jpg,g1,a hospital,CR,chest-radiograph,0,0,1,")
    assert len(table) == 1 + 1 + 30
    assert all((tmp_path / "out" / line.partition(",")[0]).is_file() for line in table[1:])


def test_a_folder_without_a_pack_and_a_pack_of_another_make_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="no Parquet file"):
        read_pack(tmp_path, "train")
    with pytest.raises(PackError, match="unknown gate_class 'foot'"):
        read_pack(pack(tmp_path / "other", gate_class="foot"), "val")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "pack.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(PackError, match="cannot be read"):
        read_pack(tmp_path / "broken", "val")
