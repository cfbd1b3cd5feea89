"""Prints where a prediction comes from, as a tree."""

from collections.abc import Mapping
from typing import Any

from rich.tree import Tree

from ml.cli.output import console, plain

COLOURS = {"pass": "green", "fail": "bold red", "error": "yellow"}


def print_lineage(found: Mapping[str, Any]) -> None:
    """Print what `tracing.explain` found, from the prediction down to the commits."""
    row = found["prediction"]
    what = "the whole run" if row["test_id"] == "*" else f"{row['test_id']} on {row['variant']}"
    tree = Tree(f"[bold]{plain(row['key'])}[/]  {plain(what)}  ({plain(row['model'])}, {plain(row['project'])})")
    _prediction(tree, row)
    version = _version(tree, found["version"])
    _verdicts(version, found["verdicts"])
    _training(version, found["training"])
    _snapshot(tree, found)
    console.print(tree, soft_wrap=True)
    if row["also_matched"]:
        console.print(f"{row['also_matched']} more predictions match; name the test, or --variant, for another")


def _prediction(tree: Tree, row: Mapping[str, Any]) -> None:
    told = f"P(fail) {row['probability']:.3f}, score {row['score']:.4g}, rank {row['rank']}: {row['decision']}"
    node = tree.add(plain(f"{told}, from what was known before {row['as_of']}"))
    if row["rank_by_cost"]:
        seconds = row["expected_duration_s"]
        takes = "an unknown time" if seconds is None else f"{seconds:.3g} s"
        node.add(plain(f"takes {takes} as a rule; rank {row['rank_by_cost']} where time is what counts"))
    for reason in row["reasons"]:
        node.add(plain(f"{reason['effect']:+.3g} by {reason['feature']}: {reason.get('words') or reason['value']}"))
    state = "current" if row["is_current"] else "past"
    node.add(plain(f"set {row['publication_id'][:16]} ({state}), published {row['published_at']}"))


def _version(tree: Tree, version: Mapping[str, Any]) -> Tree:
    state = "champion" if version["in_service"] else "no longer champion"
    promotion = version["promotion"]
    how = f", promoted {promotion['promoted_at']} by route {promotion['route']}" if promotion else ""
    replaced = f", in place of version {promotion['replaced']}" if promotion and promotion["replaced"] else ""
    of = " of the shared model" if version["is_shared"] else ""
    return tree.add(plain(f"model version {version['version']}{of}, {state}{how}{replaced}"))


def _verdicts(tree: Tree, verdicts: list[Mapping[str, Any]]) -> None:
    if not verdicts:
        tree.add("[bold red]no verdicts are stored for it[/]")
        return
    first = verdicts[0]
    period = f"judged on {first['period_start']} .. {first['period_end']}"
    node = tree.add(plain(f"{len(verdicts)} verdicts, {period}, thresholds {first['thresholds_version']}"))
    for verdict in verdicts:
        failed = [check["name"] for check in verdict["checks"] if not check["passed"]]
        told = f"{len(verdict['checks'])} checks" + (f", not passed: {', '.join(failed)}" if failed else "")
        node.add(f"[{COLOURS[verdict['status']]}]{verdict['status']:<5}[/] {verdict['gate']}: {plain(told)}")


def _training(tree: Tree, training: Mapping[str, Any]) -> None:
    if "missing" in training:
        tree.add(plain(f"training: {training['missing']}"), style="yellow")
        return
    node = tree.add(plain(f"MLflow run {training['run_id']}: {training['name']}, {training['chosen']} was chosen"))
    node.add(plain(training["url"]))
    node.add(plain(f"code {training['git_commit'] or 'unknown'}, frame {training['digest'] or 'without a digest'}"))
    if "snapshot_id" in training:
        node.add(plain(f"snapshot {training['snapshot_id']} as of {training['as_of']}"))
    if training["dag_run"]:
        node.add(plain(training["dag_run"]))
    node.add(plain(f"fourgate frame {training['run_id']}"))
    node.add(plain(f"fourgate reproduce {training['run_id']}"))


def _snapshot(tree: Tree, found: Mapping[str, Any]) -> None:
    snapshot, batches, runs = found["snapshot"], found["batches"], found["runs"]
    versions = ", ".join(f"{table} {version}" for table, version in snapshot["versions"].items())
    node = tree.add(plain(f"snapshot {snapshot['snapshot_id']} (history until {snapshot['data_until']}; {versions})"))
    several = node.add(f"{batches['count']} batches of the project, newest first")
    for batch in batches["newest"]:
        counts = ", ".join(f"{count} {table}" for table, count in batch["row_counts"].items() if count)
        told = f"{batch['batch_id'][:16]} from {batch['source']}: {batch['payload_count']} payloads, {counts}"
        several.add(plain(f"{told}, {batch['rejected']} rejected"))
    if "missing" in runs:
        node.add(plain(f"runs: {runs['missing']}"), style="yellow")
        return
    for run in runs["predicted"]:
        node.add(plain(f"the run itself: {_run(run)}"))
    behind = node.add(f"{runs['known_count']} earlier runs behind it, newest first")
    for run in runs["newest"]:
        behind.add(plain(_run(run)))


def _run(run: Mapping[str, Any]) -> str:
    outcome = f" {run['outcome']}" if run.get("outcome") else ""
    commit = f"commit {run['commit_sha']}" if run["commit_sha"] else "commit unknown"
    change = f", change {run['change_id']}" if run["change_id"] else ""
    attempt = f" attempt {run['attempt']}" if run["attempt"] > 1 else ""
    return f"{run['run_id']}{attempt}{outcome}, {run['started_at']}, {commit}{change}, batch {run['batch_id'][:16]}"
