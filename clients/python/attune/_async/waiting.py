"""Waiting, which the two clients do by different means."""


async def pause(seconds: float) -> None:
    """Wait."""
    import asyncio  # here, since at the top it would take a third of the time of `import attune`

    await asyncio.sleep(seconds)
