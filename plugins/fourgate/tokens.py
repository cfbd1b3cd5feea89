"""Secrets of sources from Airflow's connections."""

from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowNotFoundException
from pydantic import SecretStr


def token_of(source: str) -> SecretStr | None:
    """Password of the connection ``fourgate_<source>``; None without one: the environment is asked then."""
    try:
        password = Connection.get(f"fourgate_{source}").password
    except AirflowNotFoundException:
        return None
    return SecretStr(password) if password else None
