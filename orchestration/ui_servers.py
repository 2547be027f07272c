"""The web servers of `touchstone ui`: Dagster's and MLflow's applications, each with the guard of `ui_guard.py` around it.

Only what starts them belongs here. MLflow finds its application by the entry point `mlflow.app` in pyproject.toml, which is
what `mlflow server --app-name touchstone` asks for. Dagster's has no such option, so as a program this is its server:
`python -m orchestration.ui_servers PORT`. Neither can be served from here without the guard.
"""

from __future__ import annotations

import contextlib
import sys

from orchestration.ui_guard import UiGuard
from touchstone.core.settings import PROJECT_ROOT

HOST = "127.0.0.1"
WORKSPACE = PROJECT_ROOT / "workspace.yaml"


def guarded_mlflow() -> UiGuard:
    """Returns MLflow's application with the guard around it; uvicorn calls this, once a worker."""
    from mlflow.server.fastapi_app import app

    return UiGuard(app)


def serve_dagster(port: int) -> None:
    """Serves Dagster's pages until it is interrupted."""
    import dagster as dg
    import uvicorn

    # Not exported, and indispensable: docs/decisions/0020 says why. `dagster-webserver` creates its workspace with it as well.
    from dagster._core.workspace.load import load_workspace_process_context_from_yaml_paths
    from dagster_webserver.app import create_app_from_workspace_process_context

    with (
        dg.DagsterInstance.get() as instance,
        load_workspace_process_context_from_yaml_paths(instance, [str(WORKSPACE)]) as workspace,
    ):
        app = create_app_from_workspace_process_context(workspace, live_data_poll_rate=2000)
        # The application does nothing at start and end; with `lifespan` on, a stop prints a traceback of its task.
        uvicorn.run(UiGuard(app), host=HOST, port=port, access_log=False, lifespan="off")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):  # while it still loads; afterwards uvicorn stops in order
        serve_dagster(int(sys.argv[1]))
