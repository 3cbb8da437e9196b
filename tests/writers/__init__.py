"""Third-party producers, each with its own library: the gateway must find the records they write.

All take the same rows, and write them in that order: to a program they come as lines
"key TAB value", with "TAB name TAB content" for each header. All tell the same: the partition of
each record.
"""
