"""`python -m todo` is the command line for people."""

from todo.client import todo

todo(prog_name="todo")
