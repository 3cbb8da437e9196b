"""Payloads that try to inject fields, and the data that a client must receive."""

from __future__ import annotations

from hypothesis import strategies as st

hostile = st.lists(
    st.one_of(
        st.binary(max_size=8),
        st.sampled_from(
            [
                b"\r",
                b"\n",
                b"\r\n",
                b"\n\n",
                b"\0",
                b"id: 0\n",
                b"\revent: stream.close\r",
                b"\r\nretry: 0\r\n\r\n",
                b": comment",
                b"data:",
                "\u2028data: \u2029\u0085\ufeff".encode(),
                b"\xe2\x80",
                b"\xed\xa0\x80",
            ]
        ),
    ),
    max_size=12,
).map(b"".join)


def as_text(payload: bytes) -> str:
    """Return the payload as a client must receive it: UTF-8, with LF as only line break."""
    return payload.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
