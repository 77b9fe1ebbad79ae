"""The environment: `.venv`, made from requirements.lock with the standard library alone, then entered.

A stamp with the hash of the lock file says that an environment is whole; one that was interrupted is made afresh.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List, Tuple

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements.lock"
SUPPORTED = ((3, 11), (3, 12))  # the engine has wheels up to 3.12
STAMP = "penstock-lock.sha256"
UNFINISHED = "penstock-setup-unfinished"

PROBE = "import sys, venv, ensurepip; print(*sys.version_info[:2])"


def enter(arguments: List[str]) -> None:
    """Return if this process runs inside a whole environment; else make it and start over inside it."""
    python = VENV / "bin" / "python"
    if not is_whole():
        try:
            make()
        except KeyboardInterrupt:
            sys.exit("set-up interrupted; the next run starts it afresh")
    elif Path(sys.prefix).resolve() == VENV.resolve():
        return
    os.execv(str(python), [str(python), "-m", "deploy", *arguments])


def is_whole() -> bool:
    """Whether `.venv` holds exactly what requirements.lock says."""
    stamp = VENV / STAMP
    return stamp.exists() and stamp.read_text() == _lock_hash() and not (VENV / UNFINISHED).exists()


def make() -> None:
    """Make or update `.venv`; processes that come at the same time wait and then find it made."""
    with _locked(ROOT / ".venv.lock"):
        if is_whole():
            return
        unfinished = VENV / UNFINISHED
        if not (VENV / "bin" / "python").exists() or unfinished.exists():
            command = [supported_python(), "-m", "venv", "--clear", str(VENV)]
            _say("making the environment .venv")
            _run(command)
        unfinished.touch()
        _install()
        (VENV / STAMP).write_text(_lock_hash())
        unfinished.unlink()


def supported_python() -> str:
    """This interpreter or the first on PATH that can make the environment; else one message and exit 2."""
    problem = python_problem(sys.version_info[:2], _can_make_venv(sys.executable))
    if not problem:
        return sys.executable
    for version in SUPPORTED:
        for folder in os.environ.get("PATH", "").split(os.pathsep):
            candidate = os.path.join(folder, "python{}.{}".format(*version))
            if os.path.exists(candidate) and _can_make_venv(candidate):
                return candidate
    sys.stderr.write(problem + "\n")
    sys.exit(2)


def python_problem(version: Tuple[int, int], has_venv: bool) -> str:
    """What is wrong with an interpreter and what to install; empty if nothing is."""
    if version not in SUPPORTED:
        return (
            "could not set up Penstock with Python {}.{}: it needs Python 3.11 or 3.12, and none is on PATH; "
            "install one (Debian 12: apt-get install python3 python3-venv; Ubuntu 24.04: apt-get install python3.12 "
            "python3.12-venv; others: https://www.python.org/downloads) and run the command again"
        ).format(*version)
    if not has_venv:
        return (
            f"could not set up Penstock with {sys.executable}: its venv module is missing or incomplete; "
            "install it (Debian, Ubuntu: apt-get install python3-venv) and run the command again"
        )
    return ""


def _can_make_venv(python: str) -> bool:
    result = subprocess.run([python, "-c", PROBE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    version = tuple(int(number) for number in result.stdout.split())
    return result.returncode == 0 and version in SUPPORTED


def _install() -> None:
    """Run pip with hashes required, and turn its many lines into a moving one."""
    command = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--require-hashes", "--no-deps"]
    command += ["--only-binary", ":all:", "--disable-pip-version-check", "--progress-bar", "off", "-r", str(LOCK)]
    total = sum(1 for line in LOCK.read_text().splitlines() if "==" in line.split(";")[0])
    said, done = [], 0
    pip = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    for line in pip.stdout or ():
        said.append(line)
        verb, _, rest = line.strip().partition(" ")
        if verb in ("Collecting", "Requirement"):
            done += 1
            _say(f"packages {done}/{total}: {rest.split(' ')[0].split('==')[0]}")
        elif verb == "Downloading":
            _say(f"packages {done}/{total}: downloading {rest.split('/')[-1]}")
        elif verb == "Installing":
            _say(f"packages {done}/{total}: installing")
    if pip.wait() != 0:
        sys.stderr.write("\n" + "".join(said[-10:]))
        sys.exit("could not install the packages of requirements.lock (see above); run the command again")
    _say("environment ready", end=True)


def _run(command: List[str]) -> None:
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if result.returncode != 0:
        sys.stderr.write(result.stdout.decode(errors="replace"))
        sys.exit(f"could not run {' '.join(command)} (see above)")


_last_said = 0.0


def _say(text: str, end: bool = False) -> None:
    """One moving line in a terminal; elsewhere a line every two seconds."""
    global _last_said  # noqa: PLW0603 - one terminal, one line
    if sys.stdout.isatty():
        sys.stdout.write("\r\033[K" + text[:100] + ("\n" if end else ""))
    elif end or time.monotonic() - _last_said > 2:
        _last_said = time.monotonic()
        sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _lock_hash() -> str:
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
