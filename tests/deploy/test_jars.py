"""The broker's Java archives are the locked ones, or are refused."""

import shutil
from pathlib import Path

import pytest

from deploy import jars
from deploy.paths import jars_folder


def test_the_archives_are_those_of_the_lock_file() -> None:
    assert [path.name for path in jars.ensure_jars(jars_folder())] == sorted(jars.locked_hashes())


def test_a_changed_archive_is_refused(tmp_path: Path) -> None:
    jars.ensure_jars(jars_folder())
    home = tmp_path / f"kafka-{jars.VERSION}"
    shutil.copytree(jars_folder() / home.name, home)
    (home / "kafka-clients-4.2.1.jar").write_bytes(b"something else")
    with pytest.raises(jars.JarsError) as error:
        jars.ensure_jars(tmp_path)
    assert str(error.value) == (
        f"could not use the Java archives in {home}: 1 differ from kafka.lock (kafka-clients-4.2.1.jar); "
        "delete that folder to download them again"
    )


def test_the_clients_are_of_the_brokers_version() -> None:
    assert f"kafka-clients-{jars.VERSION}.jar" in jars.locked_hashes()
