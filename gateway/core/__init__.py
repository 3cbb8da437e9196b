"""The gateway without I/O: takes records and times, returns bytes and cursors.

No module here imports asyncio, aiohttp or aiokafka, reads a clock or draws a random number
(`tests/core/test_purity.py`). Every state change is one synchronous step.
"""
