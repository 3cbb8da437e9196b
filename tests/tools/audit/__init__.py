"""Known vulnerabilities and licences of the pinned packages, and a bill of materials."""
