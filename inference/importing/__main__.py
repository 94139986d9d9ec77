"""The importing process: a request on standard input, the model into a folder, an answer on standard output. No network, no hub."""

import json
import os
import resource
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"

GIBIBYTE = 1 << 30


def main() -> None:
    """Limit this process, then convert. The answer is `{"manifest": ..., "report": ...}` or `{"refused": "..."}`."""
    request = json.load(sys.stdin)
    _limit(int(request["source_bytes"]))
    from inference.golden import GoldenError  # noqa: PLC0415 - after the limits
    from inference.importing.conversion import convert  # noqa: PLC0415
    from inference.importing.published import ImportRefusedError  # noqa: PLC0415

    try:
        answer = convert(request)
    except (ImportRefusedError, GoldenError) as exc:
        answer = {"refused": str(exc)}
    except MemoryError:
        answer = {"refused": "there is not enough memory for these weights; import them on a larger machine"}
    json.dump(answer, sys.stdout)


def _limit(source_bytes: int) -> None:
    """No core dumps, an hour of processor time, no file larger than the weights could be, no endless memory."""
    for kind, limit in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, 3600),
        (resource.RLIMIT_FSIZE, 2 * source_bytes + GIBIBYTE),
        (resource.RLIMIT_AS, 4 * source_bytes + 32 * GIBIBYTE),
    ):
        _, hard = resource.getrlimit(kind)
        allowed = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (allowed, allowed))


if __name__ == "__main__":
    main()
