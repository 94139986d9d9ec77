"""Flags: what was decided about each and why, how often a model wants to raise one, and who suspended it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, exists, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite

from config.flags import FlagLimitsSection
from dicom_node.flags import control_chart
from dicom_node.flags.flagging import FlagAnswer, FlagCandidate, FlagDecision, FlagQuestion, FlagReason
from dicom_node.ledger.rows import Rows
from dicom_node.ledger.tables import deliveries, flag_charts, flag_decisions, flag_suspensions, results, work_items
from inference.findings import FlagLevel

BUDGET_WINDOW = timedelta(hours=1)
EVERY_MODEL = ""
THE_CHART = "control chart"
ORDER = "hl7-order"
"""The kind of result that changes the priority of an order. It waits while flags are suspended; everything else is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspension:
    """A model, or every one (`model` empty), that may not flag since `since`. Ended if `until` is set."""

    model: str
    since: datetime
    suspended_by: str
    why: str
    until: datetime | None
    resumed_by: str | None
    resumed_why: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagRow:
    """One decision as an operator sees it."""

    study_instance_uid: str
    revision: int
    route: str
    decision: FlagDecision


@dataclass(frozen=True, slots=True, kw_only=True)
class FlaggingModel:
    """How a model flags. `raised_within_the_hour` is what its budget counts; `studies` and `wanted` since its chart began."""

    model: str
    raised_within_the_hour: int
    counts: tuple[tuple[FlagReason, int], ...]
    studies: int
    wanted: int
    rising_points: int
    falling_points: int


class Flags(Rows):
    """Deciding about flags, and stopping them."""

    def decide_flags(self, question: FlagQuestion, *, limits: FlagLimitsSection, now: datetime) -> FlagAnswer:
        """Return the recorded decisions about a study revision under a route; make and record them if there are none.

        Studies of one model are decided one after the other, whoever asks, so that a budget cannot be spent twice.
        """
        with self._write() as connection:
            chart = self._locked_chart(connection, question.model)
            recorded = self._decisions(connection, _of(question))
            if recorded:
                return FlagAnswer(decisions=tuple(row.decision for row in recorded), new=False)
            alarm = self._observe(connection, question, chart, limits, now)
            decisions = self._decide(connection, question, limits, now)
            connection.execute(insert(flag_decisions), [_row(question, decision) for decision in decisions])
            return FlagAnswer(decisions=decisions, new=True, suspended=alarm)

    @staticmethod
    def _locked_chart(connection: Connection, model: str) -> RowMapping:
        """Return the chart of a model, begun if there is none, and keep others from it until the end of the transaction."""
        new = {"model": model, "studies": 0, "wanted": 0, "rising_points": 0, "falling_points": 0}
        dialect_insert = insert_sqlite if connection.dialect.name == "sqlite" else insert_postgresql
        connection.execute(dialect_insert(flag_charts).values(new).on_conflict_do_nothing())
        return connection.execute(select(flag_charts).where(flag_charts.c.model == model).with_for_update()).mappings().one()

    @staticmethod
    def _decisions(connection: Connection, wanted: ColumnElement[bool], limit: int | None = None) -> tuple[FlagRow, ...]:
        rows = connection.execute(select(flag_decisions).where(wanted).order_by(flag_decisions.c.id.desc()).limit(limit)).all()
        return tuple(
            FlagRow(
                study_instance_uid=row.study_instance_uid,
                revision=row.revision,
                route=row.route,
                decision=FlagDecision(
                    finding=row.finding,
                    model=row.model,
                    level=FlagLevel(row.level),
                    reason=FlagReason(row.reason),
                    detail=row.detail,
                    at=row.at,
                ),
            )
            for row in reversed(rows)
        )

    def _observe(self, connection: Connection, question: FlagQuestion, chart: RowMapping, limits: FlagLimitsSection, now: datetime) -> str:
        """Count the study on the chart, unless an older revision of it was; return why the model is suspended now, if it is."""
        if all(candidate.against is FlagReason.NOT_CALIBRATED for candidate in question.candidates):
            return ""
        older = and_(
            flag_decisions.c.study_instance_uid == question.study_instance_uid,
            flag_decisions.c.route == question.route,
            flag_decisions.c.model == question.model,
            flag_decisions.c.reason != FlagReason.NOT_CALIBRATED,
        )
        if _is_there(connection, older) or _is_there(connection, _holds(question.model)):
            return ""
        wanted = any(candidate.wanted for candidate in question.candidates)
        studies, flagged = chart["studies"] + 1, chart["wanted"] + int(wanted)
        rising, falling = _charts(limits)
        rising_points = rising.after(chart["rising_points"], watched=wanted)
        falling_points = falling.after(chart["falling_points"], watched=not wanted) if falling else 0
        connection.execute(
            update(flag_charts)
            .where(flag_charts.c.model == question.model)
            .values(studies=studies, wanted=flagged, rising_points=rising_points, falling_points=falling_points)
        )
        found = f"{flagged} of the last {studies} studies, {limits.expected_rate:.3g} of them expected"
        if rising.signals(rising_points):
            why = f"the model wants to flag too many studies ({found})"
        elif falling and falling.signals(falling_points):
            why = f"the model flags too few studies ({found})"
        else:
            return ""
        self._suspend(connection, model=question.model, who=THE_CHART, why=why, now=now)
        return why

    @staticmethod
    def _decide(connection: Connection, question: FlagQuestion, limits: FlagLimitsSection, now: datetime) -> tuple[FlagDecision, ...]:
        barrier: tuple[FlagReason, str] | None = None
        if _is_there(connection, _holds(question.model)):
            barrier = FlagReason.SUSPENDED, f"flags of {question.model} are suspended"
        elif not _fits_the_budget(connection, question, limits, now):
            barrier = FlagReason.BUDGET_SPENT, f"{question.model} has raised {limits.budget_per_hour} studies within the hour"
        return tuple(_decision(candidate, question.model, barrier, now) for candidate in question.candidates)

    def suspend_flags(self, *, model: str, who: str, why: str, now: datetime) -> bool:
        """Let a model, or every one (`EVERY_MODEL`), raise nothing from now on. False if it is suspended already, which stays."""
        with self._write() as connection:
            if _is_there(connection, _holds_exactly(model)):
                return False
            self._suspend(connection, model=model, who=who, why=why, now=now)
            return True

    @staticmethod
    def _suspend(connection: Connection, *, model: str, who: str, why: str, now: datetime) -> None:
        connection.execute(insert(flag_suspensions).values(model=model, since=now, suspended_by=who, why=why))

    def resume_flags(self, *, model: str, who: str, why: str, now: datetime) -> bool:
        """End the suspension of exactly this model, or of every one (`EVERY_MODEL`); its chart begins anew. False if there was none."""
        with self._write() as connection:
            ended = connection.execute(
                update(flag_suspensions).where(_holds_exactly(model)).values(until=now, resumed_by=who, resumed_why=why)
            ).rowcount
            if ended and model != EVERY_MODEL:
                fresh = {"studies": 0, "wanted": 0, "rising_points": 0, "falling_points": 0}
                connection.execute(update(flag_charts).where(flag_charts.c.model == model).values(fresh))
            return bool(ended)

    def suspensions(self, *, ended: bool = False) -> tuple[Suspension, ...]:
        """Return what is suspended, oldest first; with `ended`, what was too."""
        wanted = select(flag_suspensions).order_by(flag_suspensions.c.id)
        if not ended:
            wanted = wanted.where(flag_suspensions.c.until.is_(None))
        names = Suspension.__dataclass_fields__
        with self._read() as connection:
            return tuple(Suspension(**{name: row[name] for name in names}) for row in connection.execute(wanted).mappings())

    def flag_rows(self, *, study_instance_uid: str | None = None, limit: int | None = None) -> tuple[FlagRow, ...]:
        """Return the newest decisions, oldest first: all about one study, or those about findings that were there."""
        wanted = (
            flag_decisions.c.reason.not_in([FlagReason.NOT_PRESENT, FlagReason.NOT_CALIBRATED])
            if study_instance_uid is None
            else flag_decisions.c.study_instance_uid == study_instance_uid
        )
        with self._read() as connection:
            return self._decisions(connection, wanted, limit)

    def flagging_models(self, *, now: datetime) -> tuple[FlaggingModel, ...]:
        """Return every model that was ever asked for a flag, by name."""
        counted = select(flag_decisions.c.model, flag_decisions.c.reason, func.count()).group_by(
            flag_decisions.c.model, flag_decisions.c.reason
        )
        with self._read() as connection:
            counts: dict[str, list[tuple[FlagReason, int]]] = {}
            for model, reason, number in connection.execute(counted):
                counts.setdefault(model, []).append((FlagReason(reason), number))
            return tuple(
                FlaggingModel(
                    model=row.model,
                    raised_within_the_hour=_raised_since(connection, row.model, now - BUDGET_WINDOW),
                    counts=tuple(sorted(counts.get(row.model, []))),
                    studies=row.studies,
                    wanted=row.wanted,
                    rising_points=row.rising_points,
                    falling_points=row.falling_points,
                )
                for row in connection.execute(select(flag_charts).order_by(flag_charts.c.model)).all()
            )


def is_a_suspended_order() -> ColumnElement[bool]:
    """What is true of a delivery (joined with its work item) that would raise a study for a model whose flags are suspended by now."""
    suspended = exists().where(
        flag_suspensions.c.until.is_(None), or_(flag_suspensions.c.model == flag_decisions.c.model, flag_suspensions.c.model == EVERY_MODEL)
    )
    raising = exists().where(
        flag_decisions.c.study_instance_uid == work_items.c.study_instance_uid,
        flag_decisions.c.revision == work_items.c.revision,
        flag_decisions.c.route == work_items.c.route,
        flag_decisions.c.reason == FlagReason.RAISED,
        suspended,
    )
    order = exists().where(results.c.sop_instance_uid == deliveries.c.sop_instance_uid, results.c.kind == ORDER)
    return and_(order, raising)


def _charts(limits: FlagLimitsSection) -> tuple[control_chart.Chart, control_chart.Chart | None]:
    often = limits.false_alarm_every
    rising = control_chart.rising(expected=limits.expected_rate, noticed=limits.highest_rate, false_alarm_every=often)
    if limits.lowest_rate is None:
        return rising, None
    return rising, control_chart.falling(expected=limits.expected_rate, noticed=limits.lowest_rate, false_alarm_every=often)


def _fits_the_budget(connection: Connection, question: FlagQuestion, limits: FlagLimitsSection, now: datetime) -> bool:
    """True if the study may be raised: there is budget left, or the model has raised it before, so that it stands raised already."""
    already = and_(
        flag_decisions.c.study_instance_uid == question.study_instance_uid,
        flag_decisions.c.model == question.model,
        flag_decisions.c.reason == FlagReason.RAISED,
    )
    return _is_there(connection, already) or _raised_since(connection, question.model, now - BUDGET_WINDOW) < limits.budget_per_hour


def _raised_since(connection: Connection, model: str, since: datetime) -> int:
    """Return how many studies a model has raised; a clock that was set back makes it more, never fewer."""
    raised = and_(flag_decisions.c.model == model, flag_decisions.c.reason == FlagReason.RAISED, flag_decisions.c.at > since)
    return int(connection.execute(select(func.count(func.distinct(flag_decisions.c.study_instance_uid))).where(raised)).scalar_one())


def _decision(candidate: FlagCandidate, model: str, barrier: tuple[FlagReason, str] | None, now: datetime) -> FlagDecision:
    reason, detail = candidate.against or FlagReason.RAISED, candidate.detail
    if candidate.against is None and barrier is not None:
        reason, detail = barrier[0], f"{candidate.detail}, but {barrier[1]}"
    return FlagDecision(finding=candidate.finding, model=model, level=candidate.level, reason=reason, detail=detail, at=now)


def _row(question: FlagQuestion, decision: FlagDecision) -> dict[str, object]:
    return {
        "at": decision.at,
        "study_instance_uid": question.study_instance_uid,
        "revision": question.revision,
        "route": question.route,
        "finding": decision.finding,
        "model": decision.model,
        "level": int(decision.level),
        "reason": decision.reason.value,
        "detail": decision.detail,
    }


def _of(question: FlagQuestion) -> ColumnElement[bool]:
    return and_(
        flag_decisions.c.study_instance_uid == question.study_instance_uid,
        flag_decisions.c.revision == question.revision,
        flag_decisions.c.route == question.route,
    )


def _holds_exactly(model: str) -> ColumnElement[bool]:
    return and_(flag_suspensions.c.model == model, flag_suspensions.c.until.is_(None))


def _holds(model: str) -> ColumnElement[bool]:
    """What is true of a suspension that keeps a model from flagging now."""
    return or_(_holds_exactly(model), _holds_exactly(EVERY_MODEL))


def _is_there(connection: Connection, wanted: ColumnElement[bool]) -> bool:
    return bool(connection.execute(select(exists().where(wanted))).scalar())
