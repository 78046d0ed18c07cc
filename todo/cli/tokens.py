"""The commands `token create`, `token list` and `token revoke`."""

from datetime import timedelta

import click
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from todo.clock import utc_now
from todo.models import db
from todo.models.token import NAME_LENGTH, Token, hash_secret, make_secret


def _short_name(_: click.Context, __: click.Parameter, name: str) -> str:
    if len(name) > NAME_LENGTH or not name.isprintable() or not name.strip():
        raise click.BadParameter(f"use 1 to {NAME_LENGTH} printable characters.")
    return name


@click.group()
def token() -> None:
    """Create, list and revoke access tokens (see TODO_REQUIRE_TOKEN)."""


@token.command("create")
@click.argument("name", callback=_short_name)
@click.option("--read-only", is_flag=True, help="Allow reads only.")
@click.option("--feed", is_flag=True, help="Allow only the calendar feed, and print its URL.")
@click.option("--page", is_flag=True, help="Print a link that opens the page with this token.")
@click.option(
    "--expires",
    type=click.IntRange(1, 36500),
    metavar="DAYS",
    help="Number of days until the token expires. Default: never.",
)
@with_appcontext
def create_token(name: str, expires: int | None, *, read_only: bool, feed: bool, page: bool) -> None:
    """Create the token NAME, and print the token. It cannot be shown again."""
    secret = make_secret()
    now = utc_now()
    db.session.add(
        Token(
            name=name,
            secret_hash=hash_secret(secret),
            read_only=read_only or feed,
            feed=feed,
            expires_at=None if expires is None else now + timedelta(days=expires),
        )
    )
    try:
        db.session.commit()
    except IntegrityError:
        raise click.ClickException(
            f"The token {name} exists already. Revoke it first, or use another name."
        ) from None
    address = f"http://{current_app.config['HOST']}:{current_app.config['PORT']}"
    if feed:
        click.echo(f"{address}/api/v1/todos.ics?token={secret}")
    elif page:
        # Browsers do not send the fragment, so the token stays out of logs.
        click.echo(f"{address}/#token={secret}")
    else:
        click.echo(secret)


@token.command("list")
@with_appcontext
def list_tokens() -> None:
    """List the tokens with their access, and their times of creation, last use and expiry."""
    rows: list[tuple[str, ...]] = [("NAME", "ACCESS", "CREATED", "LAST USED", "EXPIRES")]
    for known in db.session.scalars(select(Token).order_by(Token.name)):
        access = "feed" if known.feed else "read" if known.read_only else "read, write"
        times = (known.created_at, known.last_used_at, known.expires_at)
        rows.append(
            (known.name, access, *("never" if time is None else f"{time:%Y-%m-%d %H:%M}Z" for time in times))
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@token.command("revoke")
@click.argument("name")
@with_appcontext
def revoke_token(name: str) -> None:
    """Revoke the token NAME immediately."""
    revoked = db.session.scalar(select(Token).where(Token.name == name))
    if revoked is None:
        raise click.ClickException(f"The token {name} does not exist. Run flask --app todo token list.")
    db.session.delete(revoked)
    db.session.commit()
    click.echo(f"Revoked {name}.")
