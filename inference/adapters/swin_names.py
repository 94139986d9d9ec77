"""Names of the tensors of Hugging Face's Swin: those of 2022, which published files have, and those of transformers 5."""

import re

_SINCE_2022 = (
    (".attention.q_proj.", ".attention.self.query."),
    (".attention.k_proj.", ".attention.self.key."),
    (".attention.v_proj.", ".attention.self.value."),
    (".attention.o_proj.", ".attention.output.dense."),
    (".attention.relative_position_bias.relative_position_bias_", ".attention.self.relative_position_bias_"),
    (".mlp.fc1.", ".intermediate.dense."),
    (".mlp.fc2.", ".output.dense."),
)
_IN_A_BLOCK = re.compile(r"(^|\.)encoder\.layers\.\d+\.blocks\.\d+\.")


def published_name(name: str) -> str:
    """Return the name of 2022 of a tensor; a name of 2022 stays as it is."""
    if _IN_A_BLOCK.search(name):
        for now, then in _SINCE_2022:
            name = name.replace(now, then)
    return name
