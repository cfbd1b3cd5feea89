"""Commands of other programs, run as processes of their own."""

import subprocess
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from ml.errors import FourgateError

TOLD = 1_000


def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    database: str,
    timeout_s: float,
    failure: tuple[type[FourgateError], str, str],
) -> str:
    """Run a command that works on a database and can be repeated; its output.

    Args:
        command: program and arguments; no password, as `ps` shows them.
        environment: all of its environment.
        database: address whose password is kept out of messages.
        timeout_s: seconds.
        failure: what to raise, what the command is called in the message, and the setting that may be wrong.

    Raises:
        FourgateError: of the given class; it took too long, or failed: with the end of what it said.
    """
    kind, name, setting = failure
    try:
        done = subprocess.run(
            command, env=dict(environment), capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise kind(f"`{name}` did not end within {timeout_s} s; it goes on where it stopped when run again") from error
    if done.returncode != 0:
        told = (done.stderr or done.stdout)[-TOLD:].replace(urlsplit(database).password or "\0", "***")
        raise kind(f"`{name}` ended with {done.returncode}: {told}; is {setting} right?")
    return done.stdout
