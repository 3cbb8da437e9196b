"""Black-box conformance suite for servers of resumable Server-Sent Events.

`cases.yaml` lists the cases for clients and servers in any language; this package executes them.
It reads no settings of the gateway and shares no code with the server side: a suite that used the
gateway's own parser could not find its faults.
"""
