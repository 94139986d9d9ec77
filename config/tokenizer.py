"""How a model reads text: vocabulary, cleaning, cutting and padding, one section for each kind of tokenizer."""

from typing import Annotated, Literal

from pydantic import Field

from config.section import FileName, Section

CleanUp = Literal["repair", "compose", "collapse-whitespace", "lower-case", "straight-quotes", "remove-punctuation"]

_CLEAN_UP = (
    "Steps before tokenizing, in order. repair: mis-decoded Unicode and HTML entities, as OpenAI's CLIP; compose: Unicode NFC;"
    " straight-quotes: curly double quotes become straight; remove-punctuation: ASCII punctuation goes."
)


class _Tokenizer(Section):
    context_length: int = Field(ge=8, le=1024, description="Tokens that the text tower reads at most; longer texts are cut.")
    clean_up: tuple[CleanUp, ...] = Field(description=_CLEAN_UP)


class FullLength(Section):
    """Every text is padded to context_length."""

    kind: Literal["full-length"] = "full-length"


class LongestOfGroup(Section):
    """Texts are padded to the longest of their group. Where the tower averages over padding, a text's vector depends on its group."""

    kind: Literal["longest-of-group"] = "longest-of-group"
    group: Literal["text", "label", "prompt-set"] = Field(
        description="Which prompts are one group in this node: each text alone, those of one label, or the whole prompt set."
    )


Padding = Annotated[FullLength | LongestOfGroup, Field(discriminator="kind", description="How texts are padded.")]


class ClipBpe(_Tokenizer):
    """CLIP's byte-pair vocabulary of 49,408 tokens, which ships with open_clip."""

    kind: Literal["clip-bpe"] = "clip-bpe"
    pad_id: Literal[0, 49407] = Field(description="Id after the end of a text: 0 (OpenAI, open_clip) or the end token (Hugging Face).")


class WordPiece(_Tokenizer):
    """BERT's word pieces: [CLS] pieces [SEP], padded with [PAD]."""

    kind: Literal["wordpiece"] = "wordpiece"
    vocabulary: FileName = Field(description="File of the vocabulary in the model's folder: one token a line, or tokenizer.json.")
    lower_case: bool = Field(description="Lower-case and strip accents, whatever the vocabulary looks like.")
    longest_word: int = Field(ge=1, le=1000, description="Characters of the longest word that is cut into pieces; a longer one is unknown.")
    padding: Padding


class SentencePiece(_Tokenizer):
    """A SentencePiece unigram vocabulary: pieces, end token, padded."""

    kind: Literal["sentencepiece"] = "sentencepiece"
    vocabulary: FileName = Field(description="tokenizer.json of the `tokenizers` library in the model's folder.")
    end_id: int = Field(ge=0, description="Id of the end token; the last one of a text that was cut.")
    pad_id: int = Field(ge=0, description="Id after the end of a text.")


Tokenizer = Annotated[ClipBpe | WordPiece | SentencePiece, Field(discriminator="kind")]
