"""The tests."""

import os
import shutil
import tempfile

# Test files are temporary, and no test depends on their content after a power cut.
MEMORY = "/dev/shm"
ROOM = 4 * 1024**3

if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
    tempfile.tempdir = MEMORY
