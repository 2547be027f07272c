"""Everything configurable, read from the environment once and validated; nothing else reads the environment.

Each setting is an environment variable `TOUCHSTONE_<NAME>`. A wrong value is a `BadInputError` that names it.
"""

from __future__ import annotations

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, StringConstraints, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from touchstone.core.errors import BadInputError
from touchstone.core.secrets import remember

PROJECT_ROOT = Path(__file__).resolve().parents[2]
DBT_PROJECT = PROJECT_ROOT / "dbt_project"
POLICY_FILE = PROJECT_ROOT / "policies" / "default.yml"
THRESHOLDS_FILE = PROJECT_ROOT / "ml" / "thresholds.yml"
MAX_AGE = timedelta(days=7)
LABEL_HORIZON_DAYS = 14
Cron = Annotated[str, StringConstraints(pattern=r"^[0-9*/,-]+( [0-9A-Za-z*/,-]+){4}$")]


class Settings(BaseSettings):
    """The settings of one process.

    Attributes:
        home: Folder that holds all state. Deleting it is a clean start.
        sources: The sources file to pull; without it, the demo marketplace, made if absent.
        policy: The policy file.
        thresholds: What a model's version must hold to be approved without an override.
        hmac_key: Key under which personal identifiers land. A sources file that holds real persons requires it.
        threads: Threads of DuckDB and XGBoost. Results do not depend on it.
        memory_limit: Memory that DuckDB may use, such as `8GB`.
        lock_wait_seconds: How long a run waits for the home's writer lock before it gives up.
        demo_scale: Scale of a demo marketplace that has to be made.
        demo_seed: Its seed.
        first_day: First day of the daily partitions.
        daily_cron: When the daily schedule runs, in cron's five fields, UTC.
        weekly_cron: The same of the weekly training.
        alert_webhook: Address that alerts are posted to.
        alert_smtp: Mail server for alerts, `smtp://[user@]host[:port]` or `smtps://…`.
        alert_smtp_password: Its user's password.
        alert_from: Sender of alerts by mail.
        alert_to: Who gets them, separated by commas.
        alert_every_seconds: An alert of the same subject is not sent again sooner.
        reviewer: Who trains, for the log of approvals; by default the account's name.
        trainer_may_approve: Whether whoever trained a version may also approve it; unset, in a demo only.
        alias_may_approve: Whether setting the alias `champion` in MLflow, which keeps no name of who did, approves a version;
            unset, in a demo only. Otherwise a person has to confirm it by `touchstone models approve`.
        mlflow_address: Where MLflow's pages are, for links; `touchstone ui` serves them there.
    """

    model_config = SettingsConfigDict(env_prefix="TOUCHSTONE_", extra="ignore", frozen=True)

    home: Path = Path(".touchstone")
    sources: Path | None = None
    policy: Path = POLICY_FILE
    thresholds: Path = THRESHOLDS_FILE
    hmac_key: SecretStr | None = Field(default=None, min_length=16)
    threads: int = Field(default=2, ge=1, le=256)
    memory_limit: Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]*(MB|GB)$")] = "8GB"
    lock_wait_seconds: float = Field(default=3600.0, ge=0)
    demo_scale: float = Field(default=0.02, gt=0)
    demo_days: int = Field(default=120, ge=60)
    demo_seed: int = Field(default=7, ge=0)
    demo_hardness: float = Field(default=1.0, gt=0)
    first_day: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$")] = "2014-01-01"
    daily_cron: Cron = "0 2 * * *"
    weekly_cron: Cron = "0 4 * * 1"
    alert_webhook: SecretStr | None = None
    alert_smtp: Annotated[str, StringConstraints(pattern=r"^smtps?://([^:@/]+@)?[^:@/]+(:[0-9]{1,5})?/?$")] | None = (
        None
    )
    alert_smtp_password: SecretStr | None = None
    alert_from: str | None = None
    alert_to: str | None = Field(default=None, validate_default=True)
    alert_every_seconds: float = Field(default=3600.0, ge=0)
    reviewer: str = Field(default_factory=lambda: os.environ.get("USER") or "unnamed", min_length=1)
    trainer_may_approve: bool | None = None
    alias_may_approve: bool | None = None
    mlflow_address: Annotated[str, StringConstraints(pattern=r"^https?://[^/]+$")] = "http://127.0.0.1:3001"

    @field_validator("alert_webhook")
    @classmethod
    def _is_web_address(cls, webhook: SecretStr | None) -> SecretStr | None:
        if webhook is not None and not re.match(r"https?://[^/]", webhook.get_secret_value()):
            raise ValueError("an address that starts with http:// or https:// is needed")
        return webhook

    @field_validator("alert_to")
    @classmethod
    def _has_sender(cls, to: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("alert_smtp") and not (to and info.data.get("alert_from")):
            raise ValueError("mail needs TOUCHSTONE_ALERT_FROM and TOUCHSTONE_ALERT_TO")
        return to

    @property
    def is_trainer_trusted(self) -> bool:
        """Whether whoever trained a version may also approve it."""
        return self.sources is None if self.trainer_may_approve is None else self.trainer_may_approve

    @property
    def is_alias_trusted(self) -> bool:
        """Whether an alias that was moved in MLflow approves a version."""
        return self.sources is None if self.alias_may_approve is None else self.alias_may_approve

    @property
    def demo(self) -> Path:
        """Folder of the demo marketplace."""
        return self.home / "marketplace"

    @property
    def sources_file(self) -> Path:
        """The sources file in force."""
        return self.sources or self.demo / "sources.yml"


def read_settings(**overrides: object) -> Settings:
    """Returns the process's settings, paths made absolute.

    Args:
        **overrides: Settings by name that win over the environment.

    Raises:
        BadInputError: A variable holds a value that the setting does not allow.
    """
    try:
        settings = Settings(**overrides)  # type: ignore[arg-type]  # pydantic validates what mypy cannot see
    except ValidationError as error:
        lines = "; ".join(
            f"TOUCHSTONE_{'_'.join(str(part) for part in item['loc']).upper()}: {item['msg']}{_given(item)}"
            for item in error.errors()
        )
        raise BadInputError(f"A setting cannot be used. {lines}. Correct or unset it.") from error
    for _, value in settings:
        if isinstance(value, SecretStr):
            remember(value.get_secret_value())
    absolute: dict[str, object] = {"home": settings.home.expanduser().resolve()}
    if settings.sources is not None:
        absolute["sources"] = settings.sources.expanduser().resolve()
    return settings.model_copy(update=absolute)


def _given(item: ErrorDetails) -> str:
    """Returns what a wrong setting holds, for its message; nothing where it is a secret, or may be part of one."""
    name = str(item["loc"][0]) if item["loc"] else ""
    is_secret = name in {"hmac_key", "alert_webhook", "alert_smtp", "alert_smtp_password"}
    return "" if is_secret else f" (got {item['input']!r})"


def quiet_libraries() -> None:
    """Turns off every library's telemetry and update check.

    The variables are set for this process and those that it starts; what a person set already stays.
    """
    for name, value in {
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "GX_ANALYTICS_ENABLED": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }.items():
        os.environ.setdefault(name, value)
