"""Which certificates are believed: those that this machine believes, and an authority of one's own beside them.

There is no way to believe any certificate: a token would go to whoever answers.
"""

import ssl
from pathlib import Path

import httpx

from ml.errors import SettingsError

# The bundle of all public authorities has a quarter of that.
MAX_PEM_BYTES = 1_000_000
_RIGHT = "right would be a PEM file with the certificate of the authority, -----BEGIN CERTIFICATE-----"


def trusting(ca_file: Path | None) -> ssl.SSLContext | bool:
    """What `verify` of httpx takes: with a PEM file, its certificates are believed too; without one, as httpx does.

    Raises:
        SettingsError: the file cannot be read, or holds no certificate in PEM; names it.
    """
    if ca_file is None:
        return True
    context = httpx.create_ssl_context()
    context.load_default_certs()
    try:
        if not ca_file.is_file():  # a pipe would never end
            raise SettingsError(f"{ca_file} is no file; {_RIGHT}")
        with ca_file.open("rb") as file:
            content = file.read(MAX_PEM_BYTES + 1)
        if len(content) > MAX_PEM_BYTES:
            raise SettingsError(f"{ca_file} is larger than {MAX_PEM_BYTES} bytes; {_RIGHT}")
        # Bundles name their authorities in comments, in any language.
        context.load_verify_locations(cadata=content.decode("ascii", "ignore"))
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = "holds no certificate in PEM" if isinstance(error, ssl.SSLError | ValueError) else error.strerror
        raise SettingsError(f"{ca_file}: {reason}; {_RIGHT}") from None
    return context


def distrust(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """Why a server's certificate was not believed, where that is what is behind an error; else None."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    return cause


def remedy(error: BaseException) -> str:
    """What to do about a certificate that is not believed; empty for any other error."""
    problem = distrust(error)
    if problem is None:
        return ""
    return (
        f"its certificate is not believed ({problem.verify_message}); right would be one in its name, from an "
        "authority that this machine believes or that is in the PEM file of ca_file (`--ca-file` of an upload)"
    )
