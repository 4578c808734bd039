"""Handles CA certificates that are given as text (PEM), since a function has no files of its own."""

import hashlib
import ssl
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

BEGINS = "-----BEGIN CERTIFICATE-----"


def is_pem(text: str) -> bool:
    """Whether the text is certificates, and not a file name."""
    return BEGINS in text


def pem(text: str) -> str:
    """The text, unchanged. Raises ValueError if it is not certificates.

    Comments in a bundle may contain non-ASCII letters; elsewhere they are a fault, as in a file.
    """
    try:
        in_ascii = text.encode("ascii", "replace").decode()
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=in_ascii)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError("must be certificates in PEM, each with its BEGIN and END line") from error
    return text


def pem_or_file(text: str) -> str:
    """The text, unchanged: certificates, or the name of a file. Raises ValueError for broken certificates."""
    return pem(text) if is_pem(text) else text


def is_here(text: str) -> bool:
    """Whether the text is certificates, or the name of an existing file."""
    try:
        return is_pem(text) or Path(text).is_file()
    except (OSError, ValueError):  # not a valid file name
        return False


@lru_cache(maxsize=16)
def file_of(text: str) -> str:
    """The file for `verify` of `requests`: a new one with this text, or the one that it names.

    The folder belongs to this process and is deleted with it.
    """
    if not is_pem(text):
        return text
    path = Path(_folder().name, f"{hashlib.sha256(text.encode()).hexdigest()}.pem")
    path.write_text(text, encoding="utf-8")
    return str(path)


@lru_cache(maxsize=1)
def _folder() -> "TemporaryDirectory[str]":
    return TemporaryDirectory(prefix="certificates-")
