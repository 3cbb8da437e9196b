"""Does a server speak resumable Server-Sent Events? Cases for any of them, run from outside.

It knows no settings of the gateway and shares no code with what it serves: a judge of one's own
parser, that used that parser, would find nothing.
"""
