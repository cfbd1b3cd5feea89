"""Lets one user pass through a folder, by a POSIX access list: the rights of all others stay as they are."""

import logging
import os
import struct
from pathlib import Path

log = logging.getLogger("fourgate.stack")
ATTRIBUTE = "system.posix_acl_access"
# tags of entries in acl(5), in the order in which the kernel wants them
USER_OBJ, USER, GROUP_OBJ, MASK, OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
EXECUTE = 0o1
_NOBODY = 0xFFFFFFFF
_HEAD = struct.pack("<I", 2)
_ENTRY = struct.Struct("<HHI")

Entries = dict[tuple[int, int], int]


def let_pass(folder: Path, uid: int) -> None:
    """Give a user the right to pass through a folder, without reading it, unless everybody has it.

    Where the file system has no access lists, everybody gets it, and the log says so.

    Raises:
        OSError: the folder is not ours to change.
    """
    mode = folder.stat().st_mode
    if mode & EXECUTE:
        return
    try:
        entries = _read(folder, mode)
        wanted = _with_passage(entries, uid)
        if wanted != entries:
            os.setxattr(folder, ATTRIBUTE, _packed(wanted))
    except (OSError, AttributeError):  # no access lists here, or no Linux
        log.warning("%s: no access lists on its file system, so all users may pass through it now", folder)
        folder.chmod(mode | EXECUTE)


def _with_passage(entries: Entries, uid: int) -> Entries:
    """The list with a right for the user; the mask, which limits such rights, lets it through."""
    own = entries.get((USER, uid), 0) | EXECUTE
    mask = entries.get((MASK, _NOBODY), entries[GROUP_OBJ, _NOBODY]) | EXECUTE
    return {**entries, (USER, uid): own, (MASK, _NOBODY): mask}


def _read(folder: Path, mode: int) -> Entries:
    """The folder's list by (tag, user); without one, what its mode says."""
    if ATTRIBUTE not in os.listxattr(folder):
        return {
            (USER_OBJ, _NOBODY): mode >> 6 & 0o7,
            (GROUP_OBJ, _NOBODY): mode >> 3 & 0o7,
            (OTHER, _NOBODY): mode & 0o7,
        }
    packed = os.getxattr(folder, ATTRIBUTE)[len(_HEAD) :]
    return {(tag, who): rights for tag, rights, who in _ENTRY.iter_unpack(packed)}


def _packed(entries: Entries) -> bytes:
    return _HEAD + b"".join(_ENTRY.pack(tag, rights, who) for (tag, who), rights in sorted(entries.items()))
