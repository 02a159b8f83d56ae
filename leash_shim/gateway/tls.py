"""The TLS of a gateway: a certificate and its key, for HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import os
import ssl
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Ciphers of TLS 1.2 that HTTP/2 allows (RFC 9113 section 9.2.2); those of TLS 1.3 all are.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


def tls_context(certificate: str, key: str) -> ssl.SSLContext:
    """The context for new connections, from two PEM files. ValueError with a sentence where they cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        reason = (error.reason or "unreadable").replace("_", " ").lower()
        raise ValueError(f"{certificate} and {key} are no certificate and its key: {reason}") from error
    except OSError as error:
        raise ValueError(f"{certificate} and {key} cannot be read: {error.strerror}") from error
    return context


def pem_context(certificate: str, key: str) -> ssl.SSLContext:
    """The same from the texts of the two, so that it does not hang on what becomes of the files. ValueError."""
    with _file_of(certificate) as certificate_path, _file_of(key) as key_path:
        return tls_context(certificate_path, key_path)


@contextmanager
def _file_of(text: str) -> Iterator[str]:
    """A file of this text that nobody else can open, since OpenSSL reads files only; in memory where it can be."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("leash-tls"), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as named:
            named.write(text)
            named.flush()
            yield named.name


def _no_password() -> str:
    """A gateway starts, and reloads, with nobody there to be asked."""
    raise ValueError("the key is encrypted: write one without a passphrase, that only leash may read")
