"""The tests."""

import os
import shutil
import tempfile

# Files of a test are gone with it, and none of them tells how a power cut would leave a disk.
MEMORY = "/dev/shm"
ROOM = 4 * 1024**3

if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
    tempfile.tempdir = MEMORY
