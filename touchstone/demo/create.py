"""Creates the demo marketplace of a home without a sources file, with the parameters in the settings."""

from __future__ import annotations

import logging

from touchstone.core.settings import Settings

logger = logging.getLogger("touchstone")


def demo_is_due(settings: Settings) -> bool:
    """Returns whether the demo marketplace has to be created: no sources file is set and there is no demo yet."""
    if settings.sources is not None or settings.sources_file.exists():
        return False
    logger.info("Creating the demo marketplace (scale %g, seed %d)", settings.demo_scale, settings.demo_seed)
    return True


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
