/**
 * What the page says: its texts, and numbers and times in the reader's way.
 *
 * `deadline_at` is a wall time, what a clock shows in the service's zone. Such times are compared as
 * text, and formatted as if they were UTC, so that no other zone moves them.
 */

const texts = JSON.parse(document.getElementById("texts").textContent);
const plurals = new Intl.PluralRules("en");
const locales = navigator.languages;

/** The service's zone, by its IANA name. */
export const zone = document.documentElement.dataset.zone;

const clock = new Intl.DateTimeFormat("en", {
	timeZone: zone,
	hourCycle: "h23",
	year: "numeric",
	month: "2-digit",
	day: "2-digit",
	hour: "2-digit",
	minute: "2-digit",
	second: "2-digit",
});
const here = new Intl.DateTimeFormat(locales).resolvedOptions();
const thisYear = formatter({ weekday: "short", day: "numeric", month: "short" });
const anyYear = formatter({ day: "numeric", month: "short", year: "numeric" });
const timeOfDay = formatter({ hour: "numeric", minute: "2-digit" });

/** The language that times are written in. */
export const language = here.locale;

/** Whether the reader lives by the clocks of another zone. */
export const zonesDiffer = clock.resolvedOptions().timeZone !== here.timeZone;

export const number = new Intl.NumberFormat(locales).format;

/** A text of the page, with `values` in its braces; `n` chooses the form of a plural. */
export function text(key, values = {}) {
	const forms = texts[key];
	return (forms[plurals.select(values.n)] ?? forms).replace(/\{(\w+)\}/g, (_, name) =>
		name === "n" ? number(values.n) : values[name],
	);
}

/** A person's words within the page's, whichever way each of them runs. */
export function quoted(words) {
	return `“\u2068${words}\u2069”`;
}

let asked = 0;
let now = 0;

/** The wall time in so many days. */
export function wallTime(days = 0) {
	if (asked !== (asked = Math.floor(Date.now() / 1000))) {
		const parts = clock.formatToParts(asked * 1000).filter(({ type }) => type !== "literal");
		const [month, day, year, hour, minute, second] = parts.map(({ value }) => value);
		now = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
	}
	return new Date(now + days * 86_400_000).toISOString().slice(0, 19);
}

/** @param {import("./api.js").Todo} todo */
export function isOverdue(todo) {
	return !todo.completed && todo.deadline_at !== null && todo.deadline_at < wallTime();
}

/** A wall time, short; midnight is a day without a time. */
export function shortTime(wall) {
	const date = new Date(`${wall.slice(0, 19)}Z`);
	const day = wall.startsWith(`${new Date().getFullYear()}-`) ? thisYear : anyYear;
	return day.format(date) + (wall.endsWith("T00:00:00") ? "" : `, ${timeOfDay.format(date)}`);
}

function formatter(options) {
	return new Intl.DateTimeFormat(locales, { ...options, timeZone: "UTC" });
}
