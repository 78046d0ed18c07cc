"""The list as a calendar and as CSV, for programs that cannot send `Accept`."""

from typing import Annotated, Literal

import msgspec
from flask import Blueprint, Response, request
from msgspec import UNSET, UnsetType

from todo import listing
from todo.clock import WallTime, service_zone
from todo.formats import csv, icalendar
from todo.http import auth, parameters
from todo.schemas import ListQuery, member

feeds = Blueprint("feeds", __name__, url_prefix="/api/v1")


EventComponent = Annotated[
    Literal["event"],
    member("Deadlines as events, for calendars that show no tasks.", "event, or omitted"),
]
FeedToken = Annotated[
    str,
    member(
        "The secret of the feed, if the service requires tokens.",
        "the secret of a feed, if the service requires tokens",
    ),
]


class CalendarQuery(ListQuery, kw_only=True, frozen=True):
    """The parameters of the calendar."""

    component: EventComponent | UnsetType = msgspec.field(name="as", default=UNSET)
    token: FeedToken | UnsetType = UNSET


@feeds.before_request
def _refuse_unknown_parameters() -> None:
    if request.method == "OPTIONS":  # OPTIONS has no view that checks the parameters
        is_calendar = request.endpoint == "feeds.get_calendar"
        parameters.read(CalendarQuery if is_calendar else ListQuery, ignore_unknown=is_calendar)


@feeds.get("/todos.ics")
@auth.takes_feed_token
def get_calendar() -> Response:
    """Get the matching todos as a calendar feed.

    The todos are tasks (VTODO). With `as=event`, the deadlines are events, for calendars without tasks.
    """
    query = parameters.read(CalendarQuery, ignore_unknown=True)  # calendar programs add parameters
    if query.component is UNSET:
        form = icalendar.format_for(service_zone())
    else:
        form = icalendar.format_for(service_zone(), icalendar.VEVENT)
        if query.deadline_from is UNSET:  # skip todos without a deadline
            query = msgspec.structs.replace(query, deadline_from=WallTime.min)
    return listing.respond(query, form, tag_streams=True)


@feeds.get("/todos.csv")
def get_table() -> Response:
    """Get the matching todos as a table for a spreadsheet."""
    return listing.respond(parameters.read(ListQuery), csv.FORMAT, tag_streams=True)
