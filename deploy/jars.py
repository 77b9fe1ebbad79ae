"""Apache Kafka's Java archives: resolved from Maven Central once, checked against deploy/kafka.lock, kept.

`python -m deploy.jars` resolves afresh and rewrites deploy/kafka.lock (after a change of VERSION).
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

VERSION = "4.2.1"
# kafka-clients is named because the resolver otherwise picks a 3.x of it beside the 4.x broker.
ENDPOINT = "+".join(
    (
        f"org.apache.kafka:kafka_2.13:{VERSION}",
        f"org.apache.kafka:kafka-clients:{VERSION}",
        "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3",
    )
)
LOCK_PATH = Path(__file__).with_name("kafka.lock")
TELL_EVERY = 5
_RESOLVE = "import sys, jgo; jgo.build(sys.argv[1], cache_dir=sys.argv[2])"

Progress = Callable[[str], None]


class JarsError(RuntimeError):
    """The archives could not be had, or are not the ones that were locked."""


def ensure_jars(folder: Path, say: Progress = lambda _: None) -> list[Path]:
    """The archives of the broker, downloaded on the first call; JarsError if one differs from deploy/kafka.lock."""
    home = folder / f"kafka-{VERSION}"
    with _locked(folder):
        if not home.is_dir():
            _download(folder, home, say)
        _verify(home)
    return sorted(home.glob("*.jar"))


def locked_hashes() -> dict[str, str]:
    """File name to sha256, from deploy/kafka.lock."""
    pairs = (line.split() for line in LOCK_PATH.read_text().splitlines() if not line.startswith("#"))
    return {name: digest for digest, name in pairs}


def _verify(home: Path) -> None:
    expected = locked_hashes()
    found = {path.name: _sha256(path) for path in home.glob("*.jar")}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        raise JarsError(
            f"could not use the Java archives in {home}: {len(wrong)} differ from {LOCK_PATH.name} "
            f"({', '.join(wrong[:3])}{', ...' if len(wrong) > 3 else ''}); delete that folder to download them again"
        )


def _download(folder: Path, home: Path, say: Progress) -> None:
    with tempfile.TemporaryDirectory(prefix="resolve-", dir=folder) as work:
        jars = _resolve(Path(work), say)
        fresh = Path(work, "fresh")
        fresh.mkdir()
        for jar in jars:
            shutil.copy2(jar, fresh / jar.name)
        fresh.rename(home)  # whole or not at all


def _resolve(work: Path, say: Progress) -> list[Path]:
    """Run the resolver with all its files below `work`, telling how many archives have arrived."""
    total = len(locked_hashes()) if LOCK_PATH.exists() else 0
    command = [sys.executable, "-c", _RESOLVE, ENDPOINT, str(work / "envs")]
    env = {**os.environ, "M2_REPO": str(work / "m2"), "HOME": str(work)}
    say(f"downloading Apache Kafka {VERSION} from Maven Central")
    told = 0
    with (work / "resolve.log").open("w+b") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=env)
        try:
            while (code := _exit_code(process)) is None:
                arrived = sum(1 for _ in work.glob("m2/**/*.jar"))
                if arrived >= told + TELL_EVERY:
                    say(f"downloading Apache Kafka {VERSION}: {arrived}/{total} archives")
                    told = arrived
        finally:
            process.kill()
        if code != 0:
            log.seek(0)
            end = log.read().decode(errors="replace").strip().splitlines()[-3:]
            raise JarsError(
                f"could not download Apache Kafka {VERSION} from Maven Central: {' | '.join(end)}; "
                "check the network and run the command again"
            )
    return sorted(work.glob("envs/**/*.jar"))


def _exit_code(process: "subprocess.Popen[bytes]") -> int | None:
    try:
        return process.wait(0.5)
    except subprocess.TimeoutExpired:
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time: others wait for the download instead of repeating it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _relock() -> None:
    with tempfile.TemporaryDirectory() as work:
        jars = _resolve(Path(work), print)
        lines = [f"{_sha256(jar)}  {jar.name}\n" for jar in jars]
    header = f"# sha256 of every Java archive of Apache Kafka {VERSION}; made by `python -m deploy.jars`\n"
    LOCK_PATH.write_text(header + "".join(lines))


if __name__ == "__main__":
    _relock()
