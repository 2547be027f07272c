"""Creates the demo marketplace of a home without a sources file, with the parameters in the settings."""

from __future__ import annotations

import logging

from touchstone.core.errors import BadInputError
from touchstone.core.home import Home
from touchstone.core.settings import Settings

logger = logging.getLogger("touchstone")


def demo_is_due(settings: Settings) -> bool:
    """Returns whether the demo marketplace has to be created: no sources file is set and there is no demo yet.

    Raises:
        BadInputError: The home holds another marketplace's tables.
    """
    if settings.sources is not None or settings.sources_file.exists():
        return False
    refuse_next_to_others(settings)
    logger.info("Creating the demo marketplace (scale %g, seed %d)", settings.demo_scale, settings.demo_seed)
    return True


def refuse_next_to_others(settings: Settings) -> None:
    """Refuses to make the demo in a home in which another marketplace has landed.

    Raises:
        BadInputError: Tables have landed, and there is no demo from which they could be.
    """
    if settings.demo.exists() or not (Home(settings.home).landing / "ledger" / "ledger.jsonl").exists():
        return
    raise BadInputError(
        f"{settings.home} holds the tables of another marketplace, and no sources file is set, which would add the demo. Set "
        "TOUCHSTONE_SOURCES (or --sources) to that marketplace's sources file, or TOUCHSTONE_HOME to a new folder for the demo."
    )


def make_demo(settings: Settings) -> None:
    """Creates the demo marketplace with the parameters in the settings."""
    from touchstone.demo.generate import generate  # draws images with Pillow, which no other command needs

    generate(
        settings.demo,
        scale=settings.demo_scale,
        days=settings.demo_days,
        seed=settings.demo_seed,
        hardness=settings.demo_hardness,
    )
