"""Files: written whole, held by one process, logged to, unpacked with care."""
