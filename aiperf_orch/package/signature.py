"""Detached signatures of packages, created and verified by `ssh-keygen -Y` of OpenSSH (Debian: openssh-client)."""

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
_SECONDS: Final = 120  # ssh-keygen may ask for a passphrase
_DECORATION: Final = re.compile(r"@+(\s.*@)?$|Signing |Write signature")
_NO_PRINCIPAL: Final = re.compile(r"No principal matched|sig_find_principals: ")
_ADVICE: Final = (
    (b"too open", "`chmod 600 {key}`"),
    (b"passphrase", "load the key with `ssh-add {key}`, then give the public key: --sign {key}.pub"),
    (b"load public key", "check with `ssh-keygen -l -f {key}` that it is a private key of OpenSSH"),
    (b"invalid format", "check with `ssh-keygen -l -f {key}` that it is a private key of OpenSSH"),
    (b"agent", "`ssh-add -l` lists the keys that the agent has"),
)
"""(text in the output of ssh-keygen, advice) for common errors."""


def signature_of(package: Path) -> Path:
    """Path of the signature of a package, beside the package."""
    return package.parent / f"{package.name}.sig"


def sign(package: Path, key: Path) -> Path:
    """Sign a package; returns the path of the signature.

    Args:
        package: the file to sign.
        key: a private key, or a public key whose private key ssh-agent has.

    Raises:
        UsageError: ssh-keygen is missing or does not sign with this key.
    """
    if not key.is_file():
        raise UsageError(f"{key}: no such key; create one with `ssh-keygen -t ed25519 -f {key}`")
    signature = signature_of(package)
    signature.unlink(missing_ok=True)
    command = [_ssh_keygen(), "-Y", "sign", "-f", str(key.absolute()), "-n", _NAMESPACE, str(package.absolute())]
    done = _run(command)
    if done.returncode or not signature.is_file():
        raise UsageError(f"{key}: ssh-keygen does not sign with it: {_reason(done.stderr)}{_advice(done.stderr, key)}")
    return signature


def check_signature(package: Path, signers: Path, faults: Faults) -> str | None:
    """Return which allowed signer signed a package; None, with a fault, without a valid signature.

    Raises:
        UsageError: ssh-keygen is missing, or the file of allowed signers does not exist.
    """
    program, signature = check_signers(signers), signature_of(package)
    if not signature.is_file():
        others = _signatures_without_package(package.absolute().parent)
        hint = f"; {others[0]} exists: if it is the signature of this package, rename it" if others else ""
        why = f"a signature is required, and the package has none beside it under this name{hint}"
        faults.add("signature.missing", signature.name, why)
        return None
    if signature.stat().st_size > _MAX_BYTES:
        faults.add("signature.invalid", signature.name, "exceeds the largest size of a signature")
        return None
    files = ["-f", str(signers.absolute()), "-s", str(signature.absolute()), "-n", _NAMESPACE]
    found = _run([program, "-Y", "find-principals", *files])
    principals = [line for line in found.stdout.decode(errors="replace").split("\n") if line]
    if found.returncode or not principals:
        reason = _reason(found.stderr, without=_NO_PRINCIPAL)
        why = f"is by none of the signers in {signers.name}" + (f": {reason}" if reason else "")
        faults.add("signature.signer", signature.name, why)
        return None
    with package.open("rb") as file:
        done = _run([program, "-Y", "verify", "-I", principals[0], *files], stdin=file)
    if done.returncode:
        faults.add(
            "signature.invalid", signature.name, f"is not valid for this package: {_reason(done.stderr + done.stdout)}"
        )
        return None
    return principals[0]


def _signatures_without_package(folder: Path) -> list[str]:
    """Names of signatures that may be of a renamed package: there is none under their own name."""
    return sorted(path.name for path in folder.glob("*.sig") if not path.with_suffix("").exists())


def check_signers(signers: Path) -> str:
    """Check that signatures can be verified; returns the program that does.

    Raises:
        UsageError: ssh-keygen is missing, or the file of allowed signers does not exist.
    """
    if not signers.is_file():
        raise UsageError(f"{signers}: no such file of allowed signers (`man ssh-keygen`, ALLOWED SIGNERS)")
    return _ssh_keygen()


def _run(command: list[str], stdin: IO[bytes] | int = subprocess.DEVNULL) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, stdin=stdin, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise AiperfError(f"{command[0]}: did not finish within {_SECONDS} s") from None


def _ssh_keygen() -> str:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise UsageError("ssh-keygen is not installed: install the OpenSSH client (Debian: openssh-client)")
    return program


def _reason(output: bytes, without: re.Pattern[str] = _DECORATION) -> str:
    """The output of ssh-keygen as one line; its most important line is often not the last one."""
    lines = [one_line(line) for line in output.decode(errors="replace").splitlines()]
    reasons = [line for line in lines if line and not _DECORATION.match(line) and not without.match(line)]
    default = "" if without is _NO_PRINCIPAL else "without a reason"
    return "; ".join(line.rstrip(".") for line in reasons) or default


def _advice(output: bytes, key: Path) -> str:
    """Advice for a common error of ssh-keygen; empty for others."""
    return next((f": {advice.format(key=key)}" for words, advice in _ADVICE if words in output), "")
