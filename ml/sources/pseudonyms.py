"""Names of people as keyed hashes: the same person in a project is the same pseudonym, another one elsewhere."""

import hashlib
import hmac

LENGTH = 12


def pseudonym(name: str, project: str, salt: str) -> str:
    """`LENGTH` hexadecimal digits that stand for a person in a project.

    The project has a salt of its own, derived from the one of the settings: who sees two projects cannot tell by their
    pseudonyms that one person works on both.
    """
    return _keyed(_keyed(salt.encode("utf-8", "replace"), project), name).hex()[:LENGTH]


def _keyed(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode("utf-8", "replace"), hashlib.sha256).digest()
