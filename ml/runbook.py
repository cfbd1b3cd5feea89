"""What the runbook takes from the DAG files: their triage notes, the names of their DAGs, their tasks.

The files are read, not imported: this room knows nothing of Airflow.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from ml.settings import MODELS

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "runbook.md"
_PART = re.compile(r"(<!-- from dags/(\w+\.py) -->\n).*?(<!-- end -->)", re.DOTALL)


def render(page: str, dags: Path = ROOT / "dags") -> str:
    """The page with each part between ``<!-- from dags/<file> -->`` and ``<!-- end -->`` written anew from that file.

    Raises:
        FileNotFoundError: a part names no DAG file.
    """
    return _PART.sub(lambda part: f"{part[1]}{describe((dags / part[2]).read_text('utf-8'))}\n{part[3]}", page)


def describe(code: str) -> str:
    """Triage notes of one DAG file under a heading of level 2, then a table of its DAGs' tasks."""
    tree = ast.parse(code)
    notes = (ast.get_docstring(tree) or "").replace("### ", "## ", 1)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    names = [name for function in functions for name in _dag_ids(function)]
    tasks = [function for function in functions if _decorator(function, "task") is not None]
    lines = [f"| `{task.name}` | {' '.join((ast.get_docstring(task) or '').split())} |" for task in _in_order(tasks)]
    told = f"DAG: {', '.join(f'`{name}`' for name in names)}"
    return "\n".join([notes, "", told, "", "| task | what it does |", "| --- | --- |", *lines, ""])


def _dag_ids(function: ast.FunctionDef) -> Iterator[str]:
    """Names of the DAGs that a function declares: its own, or one per model."""
    decorator = _decorator(function, "dag")
    if decorator is None:
        return
    given = next((word.value for word in decorator.keywords if word.arg == "dag_id"), ast.Constant(function.name))
    template = ast.unparse(given)
    for model in MODELS if "{model}" in template else ("",):
        yield template.replace("{model}", model).lstrip("f").strip("'\"")


def _decorator(function: ast.FunctionDef, name: str) -> ast.Call | None:
    """The decorator of that name, as a call."""
    for found in function.decorator_list:
        call = found if isinstance(found, ast.Call) else ast.Call(found, [], [])
        if isinstance(call.func, ast.Name) and call.func.id == name:
            return call
    return None


def _in_order(functions: list[ast.FunctionDef]) -> list[ast.FunctionDef]:
    return sorted(functions, key=lambda function: function.lineno)
