"""What the small FLAIR and MedCLIP of our own share: clinical BERT averaged over states and positions, a ResNet, their files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch.nn import functional
from transformers import BertTokenizer

from tests import golden_bert as bert
from tests.golden_fixtures import batch_norm
from tests.golden_reference import Tensors

DIMENSIONS, TEXT_LAYERS, SCALE_LN, HIGHEST_LN = 12, 3, 4.9, 4.6052
WORDS = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "fundus", "photograph", "of", "normal", "no", "findings", "the", "Normal"),
    *("glaucoma", "Glaucoma", "macular", "edema", "##s", "optic", "disc", "is", "enlarged", "small", "left", "pleural", "effusion"),
    *("Effusion", "heart", "size", ",", ".", "mild", "pulmonary", "unchanged", "lung", "acute", "large", "right"),
)
INNER = 4  # channels of the first bottleneck's middle; a ResNet-50 has 64
STAGES = (2, 1, 1, 1)

Pooling = Literal["published", "masked", "last state"]


def text_shapes(projection: str) -> dict[str, tuple[int, ...]]:
    """The text tower as published: with a pooler that nothing reads."""
    found = bert.shapes("text_model.model.", len(WORDS), pooler=True, layers=TEXT_LAYERS)
    return found | {f"text_model.{projection}.weight": (DIMENSIONS, bert.WIDTH), "logit_scale": ()}


def text_features(weights: Tensors, ids: torch.Tensor, attended: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """The mean of states 1, 2 and last over all positions, and how others get it wrong."""
    states = bert.all_states(weights, "text_model.model.", ids, attended)
    x = states[-1] if pooling == "last state" else (states[1] + states[2] + states[-1]) / 3
    if pooling == "masked":
        return (x * attended[..., None]).sum(dim=1) / attended.sum(dim=1, keepdim=True)
    return x.mean(dim=1)


def tokens(texts: Sequence[str], *, lower_case: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and attention mask of texts padded to the longest of them, as transformers' BertTokenizer gives them."""
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)}, do_lower_case=lower_case)
    found = tokenizer(list(texts), padding=True, truncation=True, max_length=bert.POSITIONS, return_tensors="pt")
    return found["input_ids"], found["attention_mask"]


def write_supplement(folder: Path) -> None:
    """Bio_ClinicalBERT's configuration and vocabulary, as if from its own repository."""
    place = folder / "supplement" / "text_backbone"
    bert.write_words(place / "vocab.txt", WORDS)
    config = bert.hugging_face_config(len(WORDS)) | {"num_hidden_layers": TEXT_LAYERS}
    (place / "config.json").write_text(json.dumps(config))


def resnet_shapes(prefix: str) -> dict[str, tuple[int, ...]]:
    """torchvision's names; as narrow inside as it can be, its outputs as wide as in a ResNet-50."""
    found: dict[str, tuple[int, ...]] = {f"{prefix}conv1.weight": (64, 3, 7, 7), **batch_norm(f"{prefix}bn1", 64)}
    entering = 64
    for stage, number in enumerate(STAGES):
        inner, leaving = INNER * 2**stage, 256 * 2**stage
        for block in range(number):
            name = f"{prefix}layer{stage + 1}.{block}"
            found |= {f"{name}.conv1.weight": (inner, entering, 1, 1), f"{name}.conv2.weight": (inner, inner, 3, 3)}
            found |= {f"{name}.conv3.weight": (leaving, inner, 1, 1)} | batch_norm(f"{name}.bn1", inner)
            found |= batch_norm(f"{name}.bn2", inner) | batch_norm(f"{name}.bn3", leaving)
            if block == 0:
                found |= {f"{name}.downsample.0.weight": (leaving, entering, 1, 1)} | batch_norm(f"{name}.downsample.1", leaving)
            entering = leaving
    return found


def resnet(weights: Tensors, prefix: str, batch: torch.Tensor) -> torch.Tensor:
    """`(n, 2048)`: the mean over the last map."""
    x = torch.relu(_batch_norm(functional.conv2d(batch, weights[f"{prefix}conv1.weight"], stride=2, padding=3), weights, f"{prefix}bn1"))
    x = functional.max_pool2d(x, 3, stride=2, padding=1)
    for stage, number in enumerate(STAGES):
        for block in range(number):
            x = _bottleneck(x, weights, f"{prefix}layer{stage + 1}.{block}", 2 if stage and block == 0 else 1)
    return x.mean(dim=(2, 3))


def _bottleneck(x: torch.Tensor, weights: Tensors, name: str, stride: int) -> torch.Tensor:
    out = torch.relu(_batch_norm(functional.conv2d(x, weights[f"{name}.conv1.weight"]), weights, f"{name}.bn1"))
    out = functional.conv2d(out, weights[f"{name}.conv2.weight"], stride=stride, padding=1)
    out = functional.conv2d(torch.relu(_batch_norm(out, weights, f"{name}.bn2")), weights[f"{name}.conv3.weight"])
    if f"{name}.downsample.0.weight" in weights:
        x = _batch_norm(functional.conv2d(x, weights[f"{name}.downsample.0.weight"], stride=stride), weights, f"{name}.downsample.1")
    return torch.relu(_batch_norm(out, weights, f"{name}.bn3") + x)


def _batch_norm(x: torch.Tensor, weights: Tensors, name: str) -> torch.Tensor:
    statistics = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
    return functional.batch_norm(x, *statistics, weights[f"{name}.weight"], weights[f"{name}.bias"])


def projected(x: torch.Tensor, weights: Tensors, name: str) -> torch.Tensor:
    """To unit length after a projection without bias."""
    return functional.normalize(x @ weights[f"{name}.weight"].T, dim=-1)


def renumbered(mistake: str, ids: torch.Tensor, wrong: torch.Tensor) -> dict[str, Any]:
    """A typical mistake that gives other tokens, or another number of them."""
    difference = float((ids - wrong).abs().max()) if ids.shape == wrong.shape else None
    return {"mistake": mistake, "array": "token_ids", "max_abs_difference": difference}
