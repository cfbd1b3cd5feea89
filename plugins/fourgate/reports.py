"""Serves the reports under ``<home>/reports`` (Data Docs, gate reports) to people who are logged in to Airflow."""

from pathlib import Path
from typing import Annotated

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import FastAPI, HTTPException
from fastapi import Path as UrlPath
from fastapi.responses import FileResponse

from ml.settings import load_settings

app = FastAPI(title="Fourgate reports", docs_url=None, redoc_url=None, openapi_url=None)
HEADERS = {
    # a report shows text from outside: even if its escaping failed, no script of it would run with Airflow's cookie
    "Content-Security-Policy": "sandbox allow-popups allow-top-navigation-by-user-activation; "
    "default-src 'self' data:; style-src 'self' 'unsafe-inline'; script-src 'none'",
    "X-Content-Type-Options": "nosniff",
}


@app.get("/reports/{path:path}")
def report(path: Annotated[str, UrlPath(max_length=1000)], user: GetUserDep) -> FileResponse:
    """One file of the reports folder; nothing outside of it, and nothing without a login."""
    root = (load_settings().home / "reports").resolve()
    try:
        found = (root / path).resolve()
        is_report = found.is_relative_to(root) and found.is_file()
    except (OSError, ValueError):  # a name that no file can have: too long, or with a NUL character
        is_report = False
    if not is_report:
        raise HTTPException(404, f"no report at {path[:200]!r}; reports are made by the tasks that link to them")
    return FileResponse(Path(found), headers=HEADERS)
