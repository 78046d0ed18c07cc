"""`python -m todo` is the command line for people."""

import sys

from todo.client import main

sys.exit(main())
