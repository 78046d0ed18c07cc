"""Print the instant of each DUE and DTSTART in a calendar, as vobject reads it."""

import json
import sys
from datetime import datetime

import vobject

calendar = vobject.readOne(sys.stdin.read())
found = {}
for component in calendar.components():
    if component.name != "VTIMEZONE":
        time = (component.due if component.name == "VTODO" else component.dtstart).value
        found[component.summary.value] = time.timestamp() if isinstance(time, datetime) else time.isoformat()
print(json.dumps(found))
