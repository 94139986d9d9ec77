"""What a failure means, and what of it may be written down."""

import pytest

from dicom_node import failures
from dicom_node.failures import NodeError, Verdict, describe, judge
from dicom_node.lifecycle import IllegalTransitionError


@pytest.mark.parametrize(
    ("failure", "verdict"),
    [
        (failures.DestinationUnreachableError("down"), Verdict.RETRY),
        (failures.AssociationRejectedError("unknown AE title"), Verdict.RETRY),
        (failures.AssociationAbortedError("aborted"), Verdict.RETRY),
        (failures.EmptyAnswerError("time-out"), Verdict.RETRY),
        (failures.StoreFailedError("full", status="0xA700"), Verdict.RETRY),
        (failures.ResultMissingError("not mounted"), Verdict.RETRY),
        (failures.PresentationContextRefusedError("no SR"), Verdict.GIVE_UP),
        (failures.StoreRefusedError("no", status="0xC000"), Verdict.GIVE_UP),
        (failures.ResultUnsuitableError("another object"), Verdict.GIVE_UP),
        (failures.ResultConflictError("another content"), Verdict.GIVE_UP),
        (failures.AttemptsExhaustedError("crashes"), Verdict.GIVE_UP),
        (IllegalTransitionError("bug"), Verdict.GIVE_UP),
        (ConnectionResetError(), Verdict.RETRY),
        (MemoryError(), Verdict.RETRY),
        (ZeroDivisionError(), Verdict.RETRY),
    ],
)
def test_every_failure_has_one_verdict(failure: BaseException, verdict: Verdict) -> None:
    assert judge(failure) is verdict


def test_every_failure_with_a_name_is_judged_by_its_own_line_in_the_table() -> None:
    named = {cls for cls in vars(failures).values() if isinstance(cls, type) and issubclass(cls, NodeError)}
    bases = {NodeError, failures.DeliveryError}
    assert named - bases <= set(failures.VERDICTS)


def test_stopping_the_process_is_no_failure() -> None:
    with pytest.raises(KeyboardInterrupt):
        judge(KeyboardInterrupt())


def test_a_foreign_message_is_never_repeated_because_it_may_quote_a_patient() -> None:
    try:
        raise ValueError("cannot parse 'CANARY^PHI'")
    except ValueError as exc:
        words = describe(exc)
    assert "CANARY" not in words
    assert words.startswith("ValueError in test_a_foreign_message")


def test_the_words_of_a_named_failure_are_kept() -> None:
    assert describe(failures.StoreFailedError("pacs answered 0xA700", status="0xA700")) == "pacs answered 0xA700"
