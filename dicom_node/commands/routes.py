"""`dicom-node routes`: which routes there are, and why a study goes where it goes."""

import json
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, TypeAlias

import pydicom
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from config import Catalogue
from config.catalogue import published_models
from config.preferences import PreferenceState, preference_states
from config.routes import RouteRule
from config.schema import Settings
from dicom_node.commands.opening import ConfigOption, JsonOption, settings_and_catalogue
from dicom_node.routing.attributes import Header
from dicom_node.routing.explanation import InstanceExplanation, Outcome, RuleExplanation, explain, in_words
from dicom_node.routing.rules import RoutableInstance, RoutedStudy, route_study

app = typer.Typer(no_args_is_help=True, help="Show the routes and explain them.")

Instance: TypeAlias = RoutableInstance[Path]

_TAKES = frozenset({Outcome.SELECTED, Outcome.LEFT_OUT, Outcome.NOT_ANALYSED})
_COLOUR = {"in use": "green", "licence not acknowledged": "yellow"}
_MARK = {True: "[green]yes[/green]", False: "[red]no[/red]"}


@app.command("list")
def list_routes(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the routes in the order in which they are tried.

    Example: dicom-node routes list --config settings.yaml
    """
    settings, catalogue = settings_and_catalogue(config)
    routes = catalogue.routes
    if as_json:
        typer.echo(json.dumps([_route_as_json(route, settings, catalogue) for route in routes], indent=2))
        return
    table = Table("route", "takes", "asks", title=f"{len(routes)} routes, first match first")
    for route in routes:
        conditions = "\n".join(in_words(match) for match in route.when) or "all that is left"
        table.add_row(route.name, escape(conditions), escape(_question(route)))
    console = Console()
    console.print(table)
    _print_preferences(_states(routes, settings, catalogue), console)


@app.command("explain")
def explain_routes(
    paths: Annotated[list[Path], typer.Argument(help="DICOM files, or folders of them.", exists=True)],
    config: ConfigOption = None,
    calling_ae_title: Annotated[str, typer.Option("--calling", help="Route as if this AE title had sent the files.")] = "FILES",
    as_json: JsonOption = False,
) -> None:
    """Show rule by rule and condition by condition why each study goes where it goes.

    Example: dicom-node routes explain study/ --calling CT1
    """
    settings, catalogue = settings_and_catalogue(config)
    routes = catalogue.routes
    instances, unreadable = _read(paths, calling_ae_title)
    studies = _by_study(instances)
    if as_json:
        found = [_as_json(uid, explain(study, routes), route_study(study, routes), settings, catalogue) for uid, study in studies]
        typer.echo(json.dumps({"studies": found, "unreadable": [str(path) for path in unreadable]}, indent=2))
    else:
        console = Console()
        for uid, study in studies:
            routed = route_study(study, routes)
            console.print(_tree(uid, study, explain(study, routes), routed))
            _print_preferences(_states([one.route for one in routed], settings, catalogue), console)
        for path in unreadable:
            console.print(f"not DICOM: {escape(str(path))}", highlight=False)
    if not instances:
        raise typer.Exit(1)


def _question(route: RouteRule) -> str:
    if route.no_analysis:
        return f"nothing: {route.no_analysis}"
    if route.model is None:
        question = "image quality only"
    elif route.searched_by not in {None, route.model}:
        question = f"{route.searched_by}: {route.prompt_set}; {route.model}: kind of image and quality"
    else:
        question = f"{route.model}: {route.prompt_set or 'kind of image and quality only'}"
    return f"{question} ({route.select})"


def _states(routes: Iterable[RouteRule], settings: Settings, catalogue: Catalogue) -> list[PreferenceState]:
    accepted = settings.models.acknowledged_licences
    return [state for route in routes for state in preference_states(route, catalogue.manifests, published_models(), accepted)]


def _print_preferences(states: Sequence[PreferenceState], console: Console) -> None:
    """Which model each route prefers, how it stands, and once for each model what would bring it into use."""
    if not states:
        return
    table = Table("route", "prefers, best first", "now", title="Preferred models for findings")
    for route in dict.fromkeys(state.route for state in states):
        own = [state for state in states if state.route == route]
        table.add_row(route, "\n".join(state.model for state in own), "\n".join(_coloured(state) for state in own))
    console.print(table)
    for model, remedy in {state.model: state.remedy for state in states if state.remedy}.items():
        console.print(f"{model}: {remedy}", highlight=False, soft_wrap=True, markup=False)


def _coloured(state: PreferenceState) -> str:
    return f"[{_COLOUR.get(state.state, 'dim')}]{state.state}[/]"


def _route_as_json(route: RouteRule, settings: Settings, catalogue: Catalogue) -> dict[str, object]:
    found: dict[str, object] = route.model_dump(mode="json", exclude_defaults=True)
    return found | ({"prefer": [asdict(state) for state in _states([route], settings, catalogue)]} if route.prefer else {})


def _read(paths: Iterable[Path], calling_ae_title: str) -> tuple[list[Instance], list[Path]]:
    """Return the headers of all files, folders searched to the bottom, and the files that are no DICOM."""
    instances: list[Instance] = []
    unreadable: list[Path] = []
    files = sorted({file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()})
    with warnings.catch_warnings():
        # pydicom's warnings quote values.
        warnings.simplefilter("ignore")
        for file in files:
            try:
                header = pydicom.dcmread(file, stop_before_pixels=True, force=True)
            except Exception:  # noqa: BLE001 - a file of anything raises anything; it is told
                unreadable.append(file)
                continue
            if Header(header).text("SOPClassUID"):
                instances.append(RoutableInstance(header=header, calling_ae_title=calling_ae_title, carried=file))
            else:
                unreadable.append(file)
    return instances, unreadable


def _by_study(instances: Iterable[Instance]) -> list[tuple[str, list[Instance]]]:
    studies: defaultdict[str, list[Instance]] = defaultdict(list)
    for instance in instances:
        studies[Header(instance.header).text("StudyInstanceUID")].append(instance)
    return sorted(studies.items())


def _tree(uid: str, study: Sequence[Instance], rules: Sequence[RuleExplanation[Path]], routed: Sequence[RoutedStudy[Path]]) -> Tree:
    """One study: where it goes, and one branch for the instances that have the same story."""
    tree = Tree(f"[bold]study {escape(uid) or '(no Study Instance UID)'}[/bold], instances: {len(study)}")
    for one in routed:
        asks = f"; asks {_question(one.route)}" if one.selected and not one.route.no_analysis else ""
        tree.add(f"[bold]{one.route.name}[/bold]: {len(one.selected)} selected, {len(one.left_out)} left out{asks}")
    stories: defaultdict[tuple[object, ...], list[Instance]] = defaultdict(list)
    for instance in study:
        stories[tuple(_story(instance, rules))].append(instance)
    for members in stories.values():
        more = f" and {len(members) - 1} like it" if len(members) > 1 else ""
        branch = tree.add(f"{escape(str(members[0].carried))}{more}")
        for rule, found in _told(members[0], rules):
            _add_rule(branch, rule, found)
    return tree


def _told(instance: Instance, rules: Iterable[RuleExplanation[Path]]) -> Iterator[tuple[RouteRule, InstanceExplanation[Path]]]:
    for rule in rules:
        for found in rule.instances:
            if found.instance is instance:
                yield rule.route, found


def _story(instance: Instance, rules: Iterable[RuleExplanation[Path]]) -> Iterator[object]:
    for _, found in _told(instance, rules):
        yield found.outcome, found.reason, found.conditions


def _add_rule(branch: Tree, route: RouteRule, found: InstanceExplanation[Path]) -> None:
    colour = "green" if found.outcome in _TAKES else "dim"
    reason = f": {escape(found.reason)}" if found.reason else ""
    rule = branch.add(f"[{colour}]{route.name}: {found.outcome}{reason}[/{colour}]")
    for condition in found.conditions:
        rule.add(f"{_MARK[condition.passed]} {escape(condition.condition)}: {escape(condition.why)}")


def _as_json(
    uid: str,
    rules: Sequence[RuleExplanation[Path]],
    routed: Sequence[RoutedStudy[Path]],
    settings: Settings,
    catalogue: Catalogue,
) -> dict[str, object]:
    return {
        "study_instance_uid": uid,
        "routes": [
            {
                "route": one.route.name,
                "model": one.route.model,
                "findings_model": one.route.searched_by,
                "prompt_set": one.route.prompt_set,
                "prefer": [asdict(state) for state in _states([one.route], settings, catalogue)],
                "selected": [str(instance.carried) for instance in one.selected],
                "left_out": [{"file": str(out.instance.carried), "reason": out.reason} for out in one.left_out],
            }
            for one in routed
        ],
        "rules": [
            {"route": rule.route.name, "takes": rule.takes, "instances": [_told_json(found) for found in rule.instances]} for rule in rules
        ],
    }


def _told_json(found: InstanceExplanation[Path]) -> dict[str, object]:
    return {
        "file": str(found.instance.carried),
        "outcome": found.outcome.value,
        "reason": found.reason,
        "conditions": [{"condition": one.condition, "passed": one.passed, "why": one.why} for one in found.conditions],
    }
