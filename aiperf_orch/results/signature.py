"""Detached signatures of packages, made and checked by OpenSSH's `ssh-keygen -Y` (Debian's openssh-client)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import IO, Final

from aiperf_orch.errors import AiperfError, UsageError
from aiperf_orch.results.faults import Faults

_NAMESPACE: Final = "aiperf-orch"
_MAX_BYTES: Final = 1 << 16
_SECONDS: Final = 120  # a key with a passphrase asks a person


def signature_of(package: Path) -> Path:
    """Where a package's signature lies: beside it."""
    return package.with_name(package.name + ".sig")


def sign(package: Path, key: Path) -> Path:
    """Sign a package with a private key (or a public one whose private one ssh-agent holds); returns the signature.

    Raises:
        UsageError: when ssh-keygen is missing or will not sign with this key.
    """
    if not key.is_file():
        raise UsageError(f"{key}: there is no such key; `ssh-keygen -t ed25519 -f {key}` makes one")
    signature = signature_of(package)
    signature.unlink(missing_ok=True)
    command = [_ssh_keygen(), "-Y", "sign", "-f", str(key.absolute()), "-n", _NAMESPACE, str(package.absolute())]
    done = _run(command)
    if done.returncode or not signature.is_file():
        raise UsageError(f"{key}: ssh-keygen does not sign with it: {_last_line(done.stderr)}")
    return signature


def check_signature(package: Path, signers: Path, faults: Faults) -> str | None:
    """Who of the allowed signers signed a package; without a valid signature a fault is added, and nobody did.

    Raises:
        UsageError: when ssh-keygen is missing, or there is no such list of signers.
    """
    if not signers.is_file():
        raise UsageError(f"{signers}: there is no such file of allowed signers (`man ssh-keygen`, ALLOWED SIGNERS)")
    program, signature = _ssh_keygen(), signature_of(package)
    if not signature.is_file():
        faults.add("signature.missing", signature.name, "a signature is asked for, and none lies beside the package")
        return None
    if signature.stat().st_size > _MAX_BYTES:
        faults.add("signature.invalid", signature.name, "is larger than a signature can be")
        return None
    files = ["-f", str(signers.absolute()), "-s", str(signature.absolute()), "-n", _NAMESPACE]
    found = _run([program, "-Y", "find-principals", *files])
    principals = [line for line in found.stdout.decode(errors="replace").split("\n") if line]
    if found.returncode or not principals:
        faults.add("signature.signer", signature.name, f"is by none of the signers in {signers.name}")
        return None
    with package.open("rb") as file:
        done = _run([program, "-Y", "verify", "-I", principals[0], *files], stdin=file)
    if done.returncode:
        faults.add(
            "signature.invalid", signature.name, f"is not this package's: {_last_line(done.stdout + done.stderr)}"
        )
        return None
    return principals[0]


def _run(command: list[str], stdin: IO[bytes] | int = subprocess.DEVNULL) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, stdin=stdin, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise AiperfError(f"{command[0]}: gave no answer within {_SECONDS} s") from None


def _ssh_keygen() -> str:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise UsageError("ssh-keygen is not there: install OpenSSH's client (Debian: openssh-client)")
    return program


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no reason given"
