"""Makes the demo marketplace of a home that has no sources of its own, as the settings ask for it."""

from __future__ import annotations

import logging

from touchstone.core.settings import Settings

logger = logging.getLogger("touchstone")


def demo_is_due(settings: Settings) -> bool:
    """Whether no sources file is set and no demo was made yet; says that it is made now."""
    if settings.sources is not None or settings.sources_file.exists():
        return False
    logger.info("Making the demo marketplace (scale %g, seed %d)", settings.demo_scale, settings.demo_seed)
    return True


def make_demo(settings: Settings) -> None:
    """Makes the demo marketplace that the settings ask for."""
    from touchstone.demo.generate import generate  # draws images with Pillow, which no other command needs

    generate(
        settings.demo,
        scale=settings.demo_scale,
        days=settings.demo_days,
        seed=settings.demo_seed,
        hardness=settings.demo_hardness,
    )
