"""JavaScript clients against a live worker: ours, the browser's own, and those of npm."""
