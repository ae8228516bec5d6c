"""Detached signatures of packages, made and checked by OpenSSH's `ssh-keygen -Y` (Debian's openssh-client)."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import IO, Final

from aiperf_orch.package.findings import Faults
from aiperf_orch.util.errors import AiperfError, UsageError
from aiperf_orch.util.text import one_line

_NAMESPACE: Final = "aiperf-orch"
_MAX_BYTES: Final = 1 << 16
_SECONDS: Final = 120  # a key with a passphrase asks a person
_DECORATION: Final = re.compile(r"@+(\s.*@)?$|Signing |Write signature")
_NO_PRINCIPAL: Final = re.compile(r"No principal matched|sig_find_principals: ")
_ADVICE: Final = (
    (b"too open", "`chmod 600 {key}`"),
    (b"passphrase", "`ssh-add {key}` asks for it; then give the public key, --sign {key}.pub"),
    (b"load public key", "is it a private key of OpenSSH? `ssh-keygen -l -f {key}` tells"),
    (b"invalid format", "is it a private key of OpenSSH? `ssh-keygen -l -f {key}` tells"),
    (b"agent", "`ssh-add -l` lists the keys that the agent has"),
)
"""What ssh-keygen says, and what to do about it."""


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
        raise UsageError(f"{key}: ssh-keygen does not sign with it: {_reason(done.stderr)}{_advice(done.stderr, key)}")
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
        others = sorted(path.name for path in package.absolute().parent.glob("*.sig"))
        found_there = f"; {others[0]} lies there: is it this package's, renamed?" if others else ""
        why = f"a signature is asked for, and none lies beside the package under this name{found_there}"
        faults.add("signature.missing", signature.name, why)
        return None
    if signature.stat().st_size > _MAX_BYTES:
        faults.add("signature.invalid", signature.name, "is larger than a signature can be")
        return None
    files = ["-f", str(signers.absolute()), "-s", str(signature.absolute()), "-n", _NAMESPACE]
    found = _run([program, "-Y", "find-principals", *files])
    principals = [line for line in found.stdout.decode(errors="replace").split("\n") if line]
    if found.returncode or not principals:
        said = _reason(found.stderr, without=_NO_PRINCIPAL)
        why = f"is by none of the signers in {signers.name}" + (f": {said}" if said else "")
        faults.add("signature.signer", signature.name, why)
        return None
    with package.open("rb") as file:
        done = _run([program, "-Y", "verify", "-I", principals[0], *files], stdin=file)
    if done.returncode:
        faults.add("signature.invalid", signature.name, f"is not this package's: {_reason(done.stderr + done.stdout)}")
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


def _reason(output: bytes, without: re.Pattern[str] = _DECORATION) -> str:
    """All that ssh-keygen said, in one line: what matters is often not the last of its lines."""
    lines = [one_line(line) for line in output.decode(errors="replace").splitlines()]
    said = [line for line in lines if line and not _DECORATION.match(line) and not without.match(line)]
    nothing = "" if without is _NO_PRINCIPAL else "it gives no reason"
    return "; ".join(line.rstrip(".") for line in said) or nothing


def _advice(output: bytes, key: Path) -> str:
    """What to do about the usual reasons."""
    return next((f": {advice.format(key=key)}" for words, advice in _ADVICE if words in output), "")
