"""The one program of the self-contained artefact: ``leash``, ``leashctl`` and ``leashd`` by the name it is called by.

It takes ``-P -m MODULE ARGUMENTS…`` as an interpreter would, for modules of leash and no others, since that is how one
program of leash starts another (leash.programs).
"""

from __future__ import annotations

import importlib
import os
import runpy
import sys
from pathlib import Path

_PROGRAMS = {
    "leash": ("leashctl.main", "leash"),
    "leashctl": ("leashctl.main", "leashctl"),
    "leashd": ("leashd.main", "main"),
}
_PACKAGES = frozenset(("leash", "leashd", "leashctl", "leash_shim"))
_AS_INTERPRETER = ["-P", "-m"]

_LIBRARY_PATH = "LD_LIBRARY_PATH"

# Where OpenSSL looks for certificates as it was built, and where distributions other than Debian have them.
CERTIFICATES = Path("/usr/lib/ssl/certs")
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora and what descends from it
    "/etc/ssl/ca-bundle.pem",  # openSUSE
)


def _restore_environment() -> None:
    """Takes back what the bootloader has set, which is not for the programs that leash starts.

    The loader has read the path of the libraries already.
    """
    original = os.environ.pop(f"{_LIBRARY_PATH}_ORIG", None)
    if original is not None:
        os.environ[_LIBRARY_PATH] = original
    else:
        os.environ.pop(_LIBRARY_PATH, None)
    for name in [name for name in os.environ if name.startswith("_PYI_")]:
        del os.environ[name]


def _find_certificates() -> None:
    """Names the system's certificates where OpenSSL would not find them; one that is named already stays."""
    if CERTIFICATES.is_dir() or "SSL_CERT_FILE" in os.environ or "SSL_CERT_DIR" in os.environ:
        return
    for bundle in _BUNDLES:
        if Path(bundle).is_file():
            os.environ["SSL_CERT_FILE"] = bundle
            return


def _run_module(module: str, arguments: list[str]) -> None:
    if module.partition(".")[0] not in _PACKAGES:
        sys.exit(f"leash: {module} is no module of leash")
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def main() -> None:
    """Runs the module that is asked for, or the program of this name."""
    _restore_environment()
    _find_certificates()
    if sys.argv[1:3] == _AS_INTERPRETER and len(sys.argv) > len(_AS_INTERPRETER) + 1:
        _run_module(sys.argv[3], sys.argv[4:])
        return
    name = Path(sys.argv[0]).name
    module, function = _PROGRAMS.get(name, _PROGRAMS["leash"])
    getattr(importlib.import_module(module), function)(prog_name=name if name in _PROGRAMS else "leash")


if __name__ == "__main__":
    main()
