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
        raise click.BadParameter(f"take 1 to {NAME_LENGTH} printable characters.")
    return name


@click.group()
def token() -> None:
    """Make, list and revoke the tokens that let clients in (see the setting REQUIRE_TOKEN)."""


@token.command("create")
@click.argument("name", callback=_short_name)
@click.option("--read-only", is_flag=True, help="It may read, and not write.")
@click.option("--feed", is_flag=True, help="It opens the calendar feed alone, in the feed's address.")
@click.option("--page", is_flag=True, help="Print a link that opens the page with this token.")
@click.option(
    "--expires", type=click.IntRange(1, 36500), metavar="DAYS", help="It is valid for so many days."
)
@with_appcontext
def create_token(name: str, expires: int | None, *, read_only: bool, feed: bool, page: bool) -> None:
    """Make a token called NAME, and show it this once."""
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
            f"There is a token {name} already: revoke it first, or take another name."
        ) from None
    address = f"http://{current_app.config['HOST']}:{current_app.config['PORT']}"
    if feed:
        click.echo(f"{address}/api/v1/todos.ics?token={secret}")
    elif page:
        # Browsers send no fragment, so that the token stays out of logs.
        click.echo(f"{address}/#token={secret}")
    else:
        click.echo(secret)


@token.command("list")
@with_appcontext
def list_tokens() -> None:
    """List the tokens: what each may do, and when it was made, last used, and expires."""
    rows: list[tuple[str, ...]] = [("NAME", "MAY", "MADE", "LAST USED", "EXPIRES")]
    for known in db.session.scalars(select(Token).order_by(Token.name)):
        may = "feed" if known.feed else "read" if known.read_only else "read, write"
        times = (known.created_at, known.last_used_at, known.expires_at)
        rows.append(
            (known.name, may, *("never" if time is None else f"{time:%Y-%m-%d %H:%M}Z" for time in times))
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@token.command("revoke")
@click.argument("name")
@with_appcontext
def revoke_token(name: str) -> None:
    """Revoke the token called NAME, at once."""
    revoked = db.session.scalar(select(Token).where(Token.name == name))
    if revoked is None:
        raise click.ClickException(f"There is no token {name}: see flask --app todo token list.")
    db.session.delete(revoked)
    db.session.commit()
    click.echo(f"{name} is revoked.")
