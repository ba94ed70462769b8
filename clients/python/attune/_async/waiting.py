"""Waiting, the one thing that the two clients do by different means."""


async def pause(seconds: float) -> None:
    """Wait."""
    import asyncio  # a third of the time of `import attune`, where it stood at the top

    await asyncio.sleep(seconds)
