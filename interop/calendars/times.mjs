// Prints the instant of each DUE and DTSTART in a calendar, as Thunderbird, Nextcloud and FullCalendar read it.
import { readFileSync } from "node:fs";
import ICAL from "ical.js";

const calendar = new ICAL.Component(ICAL.parse(readFileSync(0, "utf8")));
const found = {};
for (const component of calendar.getAllSubcomponents()) {
  const time = component.getFirstPropertyValue(component.name === "vtodo" ? "due" : "dtstart");
  if (component.name !== "vtimezone") {
    found[component.getFirstPropertyValue("summary")] = time.isDate ? time.toString() : time.toUnixTime();
  }
}
console.log(JSON.stringify(found));
