"""Certificates of authorities that are given as text (PEM), since a function has no file of its own for them."""

import hashlib
import ssl
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

BEGINS = "-----BEGIN CERTIFICATE-----"


def is_pem(text: str) -> bool:
    """Whether it is certificates, rather than the name of a file with them."""
    return BEGINS in text


def pem(text: str) -> str:
    """The text itself. Raises ValueError if it is no certificates.

    Bundles name an authority in a comment, in any letters; elsewhere the same letters are a fault, as in the file.
    """
    try:
        in_ascii = text.encode("ascii", "replace").decode()
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=in_ascii)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError("must be certificates in PEM, each with its BEGIN and END line") from error
    return text


def pem_or_file(text: str) -> str:
    """The text itself: certificates, or the name of a file with them. Raises ValueError for broken certificates."""
    return pem(text) if is_pem(text) else text


def is_here(text: str) -> bool:
    """Whether it is certificates, or the name of a file that is on this machine."""
    try:
        return is_pem(text) or Path(text).is_file()
    except (OSError, ValueError):  # text that can be no name
        return False


@lru_cache(maxsize=16)
def file_of(text: str) -> str:
    """A file for what requests takes as `verify`: one with this text, or the one that it names.

    The folder is this process's alone, and goes with it.
    """
    if not is_pem(text):
        return text
    path = Path(_folder().name, f"{hashlib.sha256(text.encode()).hexdigest()}.pem")
    path.write_text(text, encoding="utf-8")
    return str(path)


@lru_cache(maxsize=1)
def _folder() -> "TemporaryDirectory[str]":
    return TemporaryDirectory(prefix="certificates-")
