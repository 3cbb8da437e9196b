"""What goes in and comes out, described for programs: OpenAPI for requests, AsyncAPI for events.

Made once at a worker's start, from its settings, its registry and the words of the code.
"""
