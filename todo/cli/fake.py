"""The command `fake`."""

import random
from collections.abc import Iterator
from datetime import datetime, time, timedelta
from itertools import islice
from typing import Any

import click
from flask.cli import with_appcontext
from sqlalchemy import insert, select

from todo.clock import utc_now
from todo.models import db
from todo.models.todo import Todo

CHUNK = 1000  # rows per INSERT
DAYS = (-7, 30)  # the first and the last deadline, from today

_TASKS = {
    "Buy": ("milk", "bread and cheese", "a birthday present", "stamps", "new running shoes", "light bulbs"),
    "Call": ("the dentist", "grandma", "the landlord", "the bank about the card", "Alex"),
    "Pay": ("the rent", "the electricity bill", "the tax", "the library fine"),
    "Book": ("train tickets", "a table for four", "a hotel in Lisbon", "the vaccination"),
    "Write": ("the monthly report", "a letter to the editor", "minutes of the meeting", "a thank-you card"),
    "Repair": ("the bicycle", "the dripping tap", "the kitchen shelf", "the garden fence"),
    "Read": ("chapter 4", "the contract", "the release notes", "the school newsletter"),
    "Return": ("the library books", "the drill to Sam", "the parcel", "the empty bottles"),
    "Plan": ("the holiday", "the sprint", "Saturday's party", "the garden"),
    "Clean": ("the windows", "the fridge", "the inbox", "the garage"),
}
_DETAILS = (
    "Ask for a receipt.",
    "Takes half an hour.",
    "Before ten it is quiet there.",
    "Sam knows more about it.",
    "The number is on the fridge.",
    "See the notes from last week.",
)


@click.command()
@click.argument("count", type=click.IntRange(1, 1_000_000), metavar="N")
@click.option("--add", is_flag=True, help="Add to the existing todos.")
@with_appcontext
def fake(count: int, *, add: bool) -> None:
    """Create N sample todos."""
    if not add and db.session.scalar(select(Todo.id).limit(1)) is not None:
        raise click.ClickException("The database has todos. Use --add to create more, or another database.")
    todos = islice(_todos(), count)
    while chunk := list(islice(todos, CHUNK)):
        db.session.execute(insert(Todo), chunk)
    db.session.commit()
    click.echo(f"Created {count} todos.")


def _todos() -> Iterator[dict[str, Any]]:
    chance = random.Random()
    today = utc_now().date()
    while True:
        verb = chance.choice(tuple(_TASKS))
        day = today + timedelta(days=chance.randint(*DAYS))
        hour = time(chance.randint(8, 20), chance.choice((0, 30)))
        yield {
            "title": f"{verb} {chance.choice(_TASKS[verb])}",
            "description": chance.choice(_DETAILS) if chance.random() < 0.3 else None,
            "completed": chance.random() < 0.4,
            "deadline_at": datetime.combine(day, hour) if chance.random() < 0.6 else None,
        }
