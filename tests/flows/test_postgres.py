"""A Postgres of our own: wants its password, keeps its data, and is not started on those of another release."""

from pathlib import Path

import psycopg
import pytest

from graftline.errors import SettingsError
from graftline.flows.servers.postgres import HOST, USER, Postgres
from tests.support.databases import running_postgres


@pytest.mark.full
def test_it_has_the_databases_and_asks_for_the_password() -> None:
    with running_postgres("prefect", "mlflow") as server:
        server.add_databases(["mlflow", "more"])  # one is there
        for name in ("prefect", "mlflow", "more"):
            with psycopg.connect(host=HOST, port=server.port, user=USER, password=server.password, dbname=name):
                pass
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(host=HOST, port=server.port, user=USER, password="another", dbname="mlflow")
        server.make()  # again: what is there stays


def test_data_of_another_release_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "PG_VERSION").write_text("9\n")
    with pytest.raises(SettingsError, match=r"its data are of Postgres 9, here is \d+; install postgresql-9"):
        Postgres(tmp_path, 1, "a password").make()
    assert [path.name for path in tmp_path.iterdir()] == ["PG_VERSION"]


def test_an_address_holds_a_password_with_any_characters() -> None:
    assert Postgres(Path("/x"), 5, "a /@:").address("mlflow", "psycopg") == (
        f"postgresql+psycopg://{USER}:a%20%2F%40%3A@127.0.0.1:5/mlflow"
    )
