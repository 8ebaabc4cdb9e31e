"""How an MLflow server with accounts is set up."""

from pathlib import Path

import pytest
from mlflow.server.auth.config import read_auth_config

from graftline.flows.servers.commands import BASIC_AUTH


def test_a_password_is_not_digested_anew_at_every_request_of_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it each request costs a tenth of a second, and a model is brought by hundreds of them."""
    file = tmp_path / "basic_auth.ini"
    file.write_text(BASIC_AUTH.format(database_uri="sqlite://"))
    monkeypatch.setenv("MLFLOW_AUTH_CONFIG_PATH", str(file))
    assert read_auth_config().auth_cache_ttl_seconds == 60
