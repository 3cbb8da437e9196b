"""The settings by subject: fields, and the checks that concern one subject only."""
