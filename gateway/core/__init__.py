"""The gateway without I/O: input is records and times, output is bytes and cursors.

No module here imports asyncio, aiohttp or aiokafka, reads a clock or draws a random number
(`tests/core/test_purity.py`). Every state change is one synchronous step.
"""
