"""The connection to the home's MLflow database, and what several modules read from it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from touchstone.core.home import Home


def load_mlflow() -> Any:
    """Imports MLflow, which takes seconds, without telemetry and log output; the only place that imports it."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    import mlflow
    import mlflow.entities

    return mlflow


class MlflowConnection:
    """Opens MLflow's database in a home once, when it is first needed."""

    def __init__(self, home: Path) -> None:
        """Sets the home; nothing is opened or created."""
        self.paths = Home(home)
        self._client: Any = None
        self._lock = threading.Lock()

    @property
    def exists(self) -> bool:
        """Whether the home has a database."""
        return self.paths.mlflow_database.exists()

    def client(self) -> Any:
        """Returns MLflow's client; creating the database takes some seconds."""
        with self._lock:  # several models are trained at the same time
            if self._client is None:
                self.paths.root.mkdir(parents=True, exist_ok=True)
                store = f"sqlite:///{self.paths.mlflow_database}"
                self._client = load_mlflow().MlflowClient(tracking_uri=store, registry_uri=store)
            return self._client

    def registered_models(self) -> list[Any]:
        """Returns all registered models, whoever registered them, with their aliases and tags."""
        if not self.exists:
            return []
        client = self.client()
        return _all_pages(lambda token: client.search_registered_models(page_token=token))

    def registered_model(self, model: str) -> Any:
        """Returns a registered model; one without aliases and tags if MLflow does not have it."""
        matches = [registered for registered in self.registered_models() if registered.name == model]
        return matches[0] if matches else SimpleNamespace(aliases={}, tags={})

    def model_versions(self, model: str | None) -> list[Any]:
        """Returns the registered versions of a model, or of all models."""
        if not self.exists:
            return []
        client = self.client()
        query = f"name = '{model}'" if model else ""
        return _all_pages(lambda token: client.search_model_versions(query, max_results=1000, page_token=token))

    def ensure_model(self, model: str) -> None:
        """Registers a model if MLflow does not have it."""
        client = self.client()
        if not client.search_registered_models(f"name = '{model}'"):
            client.create_registered_model(
                model, description="Reviewed with `touchstone models`; the log of approvals decides."
            )


def _all_pages(search: Callable[[str | None], Any]) -> list[Any]:
    results: list[Any] = []
    token: str | None = None
    while True:
        page = search(token)
        results.extend(page)
        token = page.token
        if not token:
            return results
