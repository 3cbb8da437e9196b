"""The gateway without I/O: records and times go in, bytes and cursors come out.

Nothing here imports asyncio, aiohttp or aiokafka, reads a clock or draws a random number; a test
holds it. Every change of state is one synchronous step.
"""
