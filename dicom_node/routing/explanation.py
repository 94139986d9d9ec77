"""Says rule by rule and condition by condition why a study goes where it goes. Shows no value that may be about a patient."""

import enum
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from config.routes import Match, RouteRule
from dicom_node.routing.attributes import Header, holds
from dicom_node.routing.rules import RoutableInstance, Turn, rule_turns

C = TypeVar("C")

# More attributes than these in one condition are counted, not named.
_MOST_NAMED = 3

# Attributes whose values say what was recorded and not of whom, and what such a value looks like.
_SHOWN = frozenset(
    {
        "Modality",
        "SOPClassUID",
        "ImageType",
        "BodyPartExamined",
        "ConversionType",
        "PhotometricInterpretation",
        "ViewPosition",
        "NumberOfFrames",
    }
)
_SHOWABLE = re.compile(r"^[A-Za-z0-9 _./-]{1,64}$")


class Outcome(enum.StrEnum):
    """What one rule does with one instance."""

    SELECTED = "selected"
    NOT_ANALYSED = "taken, not analysed"
    LEFT_OUT = "taken, left out"
    PASSED_ON = "passed on"
    NO_MATCH = "does not match"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionExplanation:
    """One condition in words, whether it is true, and why."""

    condition: str
    passed: bool
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceExplanation(Generic[C]):
    """What a rule does with one instance. `reason` is given if the rule leaves it out, or would."""

    instance: RoutableInstance[C]
    outcome: Outcome
    reason: str
    conditions: tuple[ConditionExplanation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleExplanation(Generic[C]):
    """One rule and the instances that no earlier rule had taken."""

    route: RouteRule
    takes: bool
    instances: tuple[InstanceExplanation[C], ...]


def explain(instances: Sequence[RoutableInstance[C]], routes: Sequence[RouteRule]) -> tuple[RuleExplanation[C], ...]:
    """Return what each rule does, in order; a rule that nothing was left for has no instances."""
    headers = {id(instance): Header(instance.header) for instance in instances}
    return tuple(
        RuleExplanation(
            route=turn.route,
            takes=turn.takes,
            instances=tuple(_instance(turn, one, headers[id(one)]) for one in turn.left),
        )
        for turn in rule_turns(instances, routes)
    )


def _instance(turn: Turn[C], instance: RoutableInstance[C], header: Header) -> InstanceExplanation[C]:
    reason = next((one.reason for one in turn.left_out if one.instance is instance), "")
    return InstanceExplanation(
        instance=instance,
        outcome=_outcome(turn, instance, reason),
        reason=reason or (turn.route.no_analysis if turn.takes and any(one is instance for one in turn.matching) else ""),
        conditions=(*_sender(turn.route, instance), *(_condition(match, header) for match in turn.route.when)),
    )


def _outcome(turn: Turn[C], instance: RoutableInstance[C], reason: str) -> Outcome:
    if not any(one is instance for one in turn.matching):
        return Outcome.NO_MATCH
    if not turn.takes:
        return Outcome.PASSED_ON
    if turn.route.no_analysis:
        return Outcome.NOT_ANALYSED
    return Outcome.LEFT_OUT if reason else Outcome.SELECTED


def _sender(route: RouteRule, instance: RoutableInstance[C]) -> Iterator[ConditionExplanation]:
    if route.calling_ae_titles:
        passed = instance.calling_ae_title.strip() in route.calling_ae_titles
        condition = f"calling AE title is one of {', '.join(route.calling_ae_titles)}"
        yield ConditionExplanation(condition=condition, passed=passed, why="matched" if passed else "did not match")


def _condition(match: Match, header: Header) -> ConditionExplanation:
    return ConditionExplanation(condition=in_words(match), passed=holds(match, header), why=_why(match, header))


def in_words(match: Match) -> str:
    """Return a condition as a sentence, as in "Modality is one of CR, DX"."""
    subject = " or ".join(match.attribute)
    if len(match.attribute) > _MOST_NAMED:
        subject = f"{match.attribute[0]} or {len(match.attribute) - 1} others"
    if match.equals is not None:
        return f"{subject} is {match.equals}"
    if match.one_of is not None:
        return f"{subject} is one of {', '.join(match.one_of)}"
    if match.matches is not None:
        return f"{subject} matches {match.matches}"
    if match.range is not None:
        return f"{subject} is between {match.range[0]:g} and {match.range[1]:g}"
    return f"{subject} is {'there' if match.present else 'absent or empty'}"


def _why(match: Match, header: Header) -> str:
    there = [path for path in match.attribute if header.values(path)]
    if not there:
        return "absent or empty"
    if match.present is not None:
        return f"{', '.join(there)} there"
    hit = [path for path in there if holds(match.model_copy(update={"attribute": (path,)}), header)]
    return "; ".join(f"{path} {_seen(path, header, path in hit)}" for path in hit or there)


def _seen(path: str, header: Header, matched: bool) -> str:
    value = "\\".join(header.values(path))
    verdict = "matched" if matched else "did not match"
    return f"{verdict} ({value})" if path in _SHOWN and _SHOWABLE.match(value.replace("\\", " ")) else verdict
