"""Bio_ClinicalBERT's files for the importers of MedCLIP and FLAIR, whose publishers do not ship them with the weights."""

from collections.abc import Mapping
from pathlib import Path

from inference.importing import bert
from inference.importing.published import Fact, ImportRefusedError, Json, Published, PublishedCheckpoint, facts

PREFIX = "text_model.model."
NEEDED = "the text tower reads the word pieces of emilyalsentzer/Bio_ClinicalBERT, which are not published with these weights"


def configuration(published: Published, model_type: str) -> tuple[Path, Mapping[str, Json]] | None:
    """Return the configuration of this `model_type` among the files, whatever its name and folder, or None.

    Raises:
        ImportRefusedError: there are several.
    """
    found = [(path, told) for path, told in published.json_with("model_type").items() if told["model_type"] == model_type]
    if len(found) > 1:
        raise ImportRefusedError(f"{found[0][0]} and {found[1][0]} are both of model_type {model_type}; keep the one of this model")
    return found[0] if found else None


def text_tower(checkpoint: PublishedCheckpoint, published: Published) -> tuple[Fact, ...]:
    """Return what the configuration of clinical BERT states, if it is among the files.

    Raises:
        ImportRefusedError: it lacks a field or contradicts the tensors.
    """
    found = configuration(published, "bert")
    if found is None:
        return ()
    path, told = found
    return facts("architecture", path.name, text=bert.bert_section(told, checkpoint, PREFIX, str(path)))


def tokenizer(code: str) -> tuple[Fact, ...]:
    """Return how `code` reads texts; the same in both families.

    Bio_ClinicalBERT's vocabulary is cased, but without a tokenizer_config.json texts were lower-cased in training.
    """
    return (
        *facts("tokenizer", code, context_length=77, padding={"kind": "longest-of-group", "group": "label"}, clean_up=[]),
        *facts("tokenizer", "transformers' BertTokenizer", kind="wordpiece", longest_word=100, lower_case=True),
        *facts("tokenizer", "emilyalsentzer/Bio_ClinicalBERT", vocabulary=bert.VOCABULARY),
    )
