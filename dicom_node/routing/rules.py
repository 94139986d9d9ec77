"""Which instances of a study go to which route, and why. Functions over headers: no I/O, nothing is evaluated.

The meaning of a rule stands in `config.routes.RouteRule`. Headers come from peers and may be hostile: a value that cannot be
read counts as absent, and only the first characters of a value are looked at.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydicom.dataset import Dataset

from config.routes import Exclude, Match, RouteRule
from dicom_node.routing.attributes import Header, holds

C = TypeVar("C")

NOT_THE_LARGEST_SERIES = "only the largest matching series of the study is analysed"
NO_ROUTE = "no route takes it"

_LONGEST_NUMBER = 13  # characters of an Integer String, and one (PS3.5 Table 6.2-1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoutableInstance(Generic[C]):
    """What routing may see of an instance: its header (pixels are not needed) and its sender. `carried` is the caller's own."""

    header: Dataset
    calling_ae_title: str
    carried: C


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut(Generic[C]):
    """An instance that is not analysed, and why, in words for the report."""

    instance: RoutableInstance[C]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedStudy(Generic[C]):
    """The part of a study that one route reports on. `selected` is never empty.

    Under a route with `no_analysis`, `selected` are the instances that the report says were not analysed, and `left_out`
    repeats those of them for which there is a better reason than the route's own.
    """

    route: RouteRule
    selected: tuple[RoutableInstance[C], ...]
    left_out: tuple[LeftOut[C], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn(Generic[C]):
    """What one rule did with what was left of the study when its turn came.

    `matching` are the instances that its conditions hold for, `left_out` those of them that it leaves out; it `takes` all
    that match or nothing.
    """

    route: RouteRule
    left: tuple[RoutableInstance[C], ...]
    matching: tuple[RoutableInstance[C], ...]
    left_out: tuple[LeftOut[C], ...]
    takes: bool

    @property
    def selected(self) -> tuple[RoutableInstance[C], ...]:
        """The instances that the rule takes and does not leave out."""
        out = {id(one.instance) for one in self.left_out}
        return tuple(instance for instance in self.matching if id(instance) not in out) if self.takes else ()


def route_study(instances: Sequence[RoutableInstance[C]], routes: Sequence[RouteRule]) -> tuple[RoutedStudy[C], ...]:
    """Return the routes that report on a study, in the order of the rules, with every instance in exactly one of them.

    Only if the rules do not end in one that takes the rest (which `config.load` refuses) can the answer be empty.
    """
    turns = tuple(rule_turns(instances, routes))
    better = _first_reasons(turns)
    analysed = [turn for turn in turns if turn.takes and not turn.route.no_analysis]
    waved_off = [turn for turn in turns if turn.takes and turn.route.no_analysis]
    if not analysed:
        return tuple(_not_analysed(turn, better) for turn in waved_off)
    taken = {id(instance) for turn in turns if turn.takes for instance in turn.matching}
    rest = [
        LeftOut(instance=instance, reason=better.get(id(instance), turn.route.no_analysis))
        for turn in waved_off
        for instance in turn.matching
    ]
    rest += [LeftOut(instance=one, reason=better.get(id(one), NO_ROUTE)) for one in instances if id(one) not in taken]
    return tuple(
        RoutedStudy(route=turn.route, selected=turn.selected, left_out=(*turn.left_out, *(rest if index == 0 else ())))
        for index, turn in enumerate(analysed)
    )


def rule_turns(instances: Sequence[RoutableInstance[C]], routes: Sequence[RouteRule]) -> Iterator[Turn[C]]:
    """Yield what each rule does, in order, with what the rules before it left."""
    headers = {id(instance): Header(instance.header) for instance in instances}
    left = tuple(instances)
    for route in routes:
        matching = tuple(one for one in left if _takes_from(route, one) and all(holds(match, headers[id(one)]) for match in route.when))
        left_out = tuple(_left_out(route, matching, headers))
        takes = bool(matching) and (bool(route.no_analysis) or len(left_out) < len(matching))
        yield Turn(route=route, left=left, matching=matching, left_out=left_out, takes=takes)
        if takes:
            gone = {id(one) for one in matching}
            left = tuple(one for one in left if id(one) not in gone)


def _takes_from(route: RouteRule, instance: RoutableInstance[C]) -> bool:
    return not route.calling_ae_titles or instance.calling_ae_title.strip() in route.calling_ae_titles


def _left_out(route: RouteRule, matching: Sequence[RoutableInstance[C]], headers: dict[int, Header]) -> Iterator[LeftOut[C]]:
    kept = []
    for instance in matching:
        reason = next((rule.reason for rule in route.exclude if not rule.beside and _all_hold(rule.when, headers[id(instance)])), None)
        if reason is None:
            kept.append(instance)
        else:
            yield LeftOut(instance=instance, reason=reason)
    kept.sort(key=lambda instance: _number_in_study(headers[id(instance)]))
    for rule in (rule for rule in route.exclude if rule.beside):
        better = tuple(_beside_another(rule, kept, headers))
        yield from (LeftOut(instance=instance, reason=rule.reason) for instance in better)
        gone = {id(instance) for instance in better}
        kept = [instance for instance in kept if id(instance) not in gone]
    if route.select == "largest-series" and not route.no_analysis:
        largest = _largest_series(kept, headers)
        for instance in kept:
            if headers[id(instance)].text("SeriesInstanceUID") != largest:
                yield LeftOut(instance=instance, reason=NOT_THE_LARGEST_SERIES)


def _beside_another(rule: Exclude, kept: Sequence[RoutableInstance[C]], headers: dict[int, Header]) -> Iterator[RoutableInstance[C]]:
    """The instances that the rule leaves out beside what stays, last first."""
    company: dict[tuple[tuple[str, ...], ...], set[int]] = {}
    for instance in kept:
        if (shared := _shared(rule, headers[id(instance)])) is not None and _all_hold(rule.beside, headers[id(instance)]):
            company.setdefault(shared, set()).add(id(instance))
    for instance in reversed(kept):
        shared = _shared(rule, headers[id(instance)])
        if shared is None or not _all_hold(rule.when, headers[id(instance)]):
            continue
        others = company.get(shared, set())
        if len(others) > (id(instance) in others):
            others.discard(id(instance))
            yield instance


def _shared(rule: Exclude, header: Header) -> tuple[tuple[str, ...], ...] | None:
    """The values that must be the same; None if one is absent."""
    values = tuple(header.values(path) for path in rule.same)
    return values if all(values) else None


def _all_hold(matches: Sequence[Match], header: Header) -> bool:
    return all(holds(match, header) for match in matches)


def _number_in_study(header: Header) -> tuple[int, int, str]:
    """Order of instances that does not depend on how they arrived."""
    numbers = (header.text(keyword) for keyword in ("SeriesNumber", "InstanceNumber"))
    series, instance = (int(text) if text.isdecimal() and len(text) < _LONGEST_NUMBER else 0 for text in numbers)
    return series, instance, header.text("SOPInstanceUID")


def _largest_series(instances: Sequence[RoutableInstance[C]], headers: dict[int, Header]) -> str:
    """The Series Instance UID with the most frames; of several, the first in alphabetical order, whatever order they came in."""
    frames: Counter[str] = Counter()
    for instance in instances:
        header = headers[id(instance)]
        frames[header.text("SeriesInstanceUID")] += header.frame_count()
    return min(frames, key=lambda uid: (-frames[uid], uid), default="")


def _first_reasons(turns: Sequence[Turn[C]]) -> dict[int, str]:
    """The reason that the first rule which wanted to leave an instance out gave for it, by identity of the instance."""
    reasons: dict[int, str] = {}
    for turn in turns:
        for one in turn.left_out:
            reasons.setdefault(id(one.instance), one.reason)
    return reasons


def _not_analysed(turn: Turn[C], better: dict[int, str]) -> RoutedStudy[C]:
    left_out = tuple(LeftOut(instance=one, reason=better[id(one)]) for one in turn.matching if id(one) in better)
    return RoutedStudy(route=turn.route, selected=turn.matching, left_out=left_out)
