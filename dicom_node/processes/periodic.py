"""What `schedule` does from time to time. Nothing here raises: a round that failed is logged, and the next one tries again."""

from collections.abc import Callable, Mapping

import structlog

from dicom_node import steps
from dicom_node.keeping.retention import BackupRunsError, purge
from dicom_node.keeping.stocktaking import tidy
from dicom_node.node import Node
from dicom_node.telemetry import count_purged

log = structlog.get_logger()

_MINUTE_S = 60.0
_DAY_S = 86_400.0


def settle_and_route(node: Node) -> None:
    """Settle studies and make their work items."""
    steps.settle(node)
    steps.route(node)
    steps.tell(node)


def mind_the_clock(node: Node) -> None:
    """Let nothing wait for a moment from before the clock went back."""
    deliver = node.settings.deliver
    restamped = node.ledger.restamp_deliveries(now=node.clock(), longest_wait_s=deliver.maximum_retry_s, lease_s=deliver.lease_s)
    if restamped:
        log.warning("clock_went_back", deliveries=restamped)


def purge_what_may_go(node: Node) -> None:
    """Purge, unless a backup is being made."""
    try:
        done = purge(node.settings, node.ledger, node.store, now=node.clock())
    except BackupRunsError as exc:
        log.info("purge_postponed", reason=str(exc))
        return
    count_purged(len(done.by_age) + len(done.for_space), done.received_bytes)
    if not done.enough_space:
        log.warning("purge_made_too_little_space", below_free_mb=node.settings.retention.below_free_mb)


def clear_up(node: Node) -> None:
    """Remove what crashes left and nothing can use."""
    if removed := tidy(node.ledger, node.store, now=node.clock()):
        log.info("unused_files_removed", count=removed)


def rounds(node: Node) -> Mapping[str, tuple[Callable[[], None], float]]:
    """Return name -> what is to be done, and every how many seconds."""
    jobs: Mapping[str, tuple[Callable[[Node], None], float]] = {
        "settling": (settle_and_route, node.settings.schedule.settle_every_s),
        "minding_the_clock": (mind_the_clock, _MINUTE_S),
        "purging": (purge_what_may_go, node.settings.retention.every_s),
        "clearing_up": (clear_up, _DAY_S),
    }
    return {name: (_guarded(name, job, node), seconds) for name, (job, seconds) in jobs.items()}


def _guarded(name: str, job: Callable[[Node], None], node: Node) -> Callable[[], None]:
    def run() -> None:
        try:
            job(node)
        except Exception as exc:  # noqa: BLE001 - the worker loop: the next round tries again
            log.error("round_failed", name=name, error=type(exc).__name__)  # noqa: TRY400 - a traceback may quote values

    return run
