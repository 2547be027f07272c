"""All settings, read from the environment once and validated. No other module reads the environment.

Each setting is an environment variable `TOUCHSTONE_<NAME>`. An invalid value raises a `BadInputError` that names it.
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
        home: Folder that holds all state. Deleting it gives a clean start.
        sources: The sources file. By default the demo marketplace is used, and created if absent.
        policy: The policy file.
        thresholds: File with the thresholds that a model version must meet to be approved without an override.
        base_currency: Currency that amounts are converted to, ISO 4217; by default the most frequent one of what landed. The
            table `fx_rates` gives rates to it.
        sighting_days: A listing that has been seen (a price, `last_seen_at`, a snapshot) counts as active for so many days after
            the last time. One that was never seen is active until it is delisted.
        hmac_key: Key of the HMACs of personal identifiers. Required by sources files with identifiers of real persons.
        pictures_per_run: How many pictures a run reads for logos and text at most, with the extra `touchstone[pictures]`; by
            default 200, and none of the demo's.
        threads: Threads of DuckDB and XGBoost. Results do not depend on it.
        memory_limit: Memory limit of DuckDB, such as `8GB`.
        lock_wait_seconds: How long a run waits for the home's writer lock before it fails.
        demo_scale: Scale of a new demo marketplace.
        demo_days: Days of history of a new demo marketplace.
        demo_seed: Random seed of a new demo marketplace.
        demo_hardness: How hard a new demo marketplace's counterfeits are to detect; 1 is the default.
        first_day: First day of the daily partitions.
        daily_cron: Schedule of the daily run: five cron fields, UTC.
        weekly_cron: Schedule of the weekly training: five cron fields, UTC.
        alert_webhook: URL that alerts are posted to.
        alert_smtp: Mail server for alerts, `smtp://[user@]host[:port]` or `smtps://…`.
        alert_smtp_password: Password of the mail server's user.
        alert_from: Sender of alerts by mail.
        alert_to: Recipients of alerts by mail, separated by commas.
        alert_every_seconds: Minimum time between two alerts with the same subject.
        reviewer: Name of the person who trains, for the log of approvals; by default the account's name.
        trainer_may_approve: Whether the person who trained a version may also approve it; by default only in a demo.
        alias_may_approve: Whether setting the alias `champion` in MLflow, which does not record who set it, approves a version;
            by default only in a demo. Otherwise a person has to confirm it with `touchstone models approve`.
        mlflow_address: Address of MLflow's pages, for links; `touchstone ui` serves them there.
    """

    model_config = SettingsConfigDict(env_prefix="TOUCHSTONE_", extra="ignore", frozen=True)

    home: Path = Path(".touchstone")
    sources: Path | None = None
    policy: Path = POLICY_FILE
    thresholds: Path = THRESHOLDS_FILE
    base_currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3,5}$")] | None = None
    sighting_days: int = Field(default=14, ge=1, le=3650)
    hmac_key: SecretStr | None = Field(default=None, min_length=16)
    pictures_per_run: int | None = Field(default=None, ge=0)
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
        """Whether the person who trained a version may also approve it."""
        return self.sources is None if self.trainer_may_approve is None else self.trainer_may_approve

    @property
    def is_alias_trusted(self) -> bool:
        """Whether setting the alias `champion` in MLflow approves a version."""
        return self.sources is None if self.alias_may_approve is None else self.alias_may_approve

    @property
    def most_pictures_read(self) -> int:
        """How many pictures a run reads for logos and text at most."""
        by_default = 0 if self.sources is None else 200
        return by_default if self.pictures_per_run is None else self.pictures_per_run

    @property
    def demo(self) -> Path:
        """Folder of the demo marketplace."""
        return self.home / "marketplace"

    @property
    def sources_file(self) -> Path:
        """The sources file in use."""
        return self.sources or self.demo / "sources.yml"


def read_settings(**overrides: object) -> Settings:
    """Returns the process's settings, with absolute paths.

    Args:
        **overrides: Settings by name that take precedence over the environment.

    Raises:
        BadInputError: A variable has an invalid value.
    """
    try:
        settings = Settings(**overrides)  # type: ignore[arg-type]  # pydantic validates what mypy cannot see
    except ValidationError as error:
        lines = "; ".join(
            f"TOUCHSTONE_{'_'.join(str(part) for part in item['loc']).upper()}: {item['msg']}{_format_value(item)}"
            for item in error.errors()
        )
        raise BadInputError(f"Invalid setting: {lines}. Correct or unset it.") from error
    for _, value in settings:
        if isinstance(value, SecretStr):
            remember(value.get_secret_value())
    absolute: dict[str, object] = {"home": settings.home.expanduser().resolve()}
    if settings.sources is not None:
        absolute["sources"] = settings.sources.expanduser().resolve()
    return settings.model_copy(update=absolute)


def _format_value(item: ErrorDetails) -> str:
    """Returns the value of an invalid setting for its message; empty if it is, or may be part of, a secret."""
    name = str(item["loc"][0]) if item["loc"] else ""
    is_secret = name in {"hmac_key", "alert_webhook", "alert_smtp", "alert_smtp_password"}
    return "" if is_secret else f" (got {item['input']!r})"


def quiet_libraries() -> None:
    """Turns off the telemetry and update checks of all libraries.

    The environment variables are set for this process and its children; variables that are already set are kept.
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
