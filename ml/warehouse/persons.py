"""Persons who opted out, by their pseudonym alone."""

from ml.warehouse.session import Session, write_audit


class Persons(Session):
    """Who is to land no more."""

    def forget_person(self, pseudonym: str, project: str, actor: str) -> bool:
        """Note that a person opted out, with an audit row that says neither name nor pseudonym; False if known."""
        with self.transaction() as cursor:
            cursor.execute(
                "INSERT INTO fourgate.forgotten_person (pseudonym, project) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                (pseudonym, project),
            )
            is_new = cursor.rowcount == 1
            if is_new:
                write_audit(cursor, actor, "forget_person", project, {})
        return is_new

    def forgotten_persons(self) -> frozenset[str]:
        """Pseudonyms of everyone who opted out, of all projects."""
        with self.transaction() as cursor:
            cursor.execute("SELECT pseudonym FROM fourgate.forgotten_person")
            return frozenset(pseudonym for (pseudonym,) in cursor.fetchall())
