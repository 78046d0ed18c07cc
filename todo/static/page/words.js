/**
 * The texts of the page, and numbers and times in the format of the user's locale.
 *
 * `deadline_at` is a wall time, which is local time in the service's zone. Wall times are compared as text,
 * and formatted as if they were UTC, so that no other zone changes them.
 */

/** The service's zone, by its IANA name, and its current offset in seconds. */
const { zone, offset } = document.documentElement.dataset;
const texts = JSON.parse(document.getElementById("texts").textContent);
const plurals = new Intl.PluralRules("en");
/** Some browsers list tags that `Intl` rejects, such as `en-US@posix`. */
const locales = [...(navigator.languages ?? [])].filter((tag) => {
	try {
		return Intl.getCanonicalLocales(tag);
	} catch {
		return false;
	}
});

const DAY = 86_400_000; // milliseconds
/** The last second of a day represents a deadline without a time. */
export const END_OF_DAY = "23:59:59";

// The first of these takes 30 ms, so they are created while the list is on its way.
const numbers = once(() => new Intl.NumberFormat(locales));
const relative = once(() => new Intl.RelativeTimeFormat(locales, { numeric: "auto" }));
const here = once(() => new Intl.DateTimeFormat(locales).resolvedOptions());
const clock = once(makeClock);
const thisYear = once(() => formatter({ weekday: "short", day: "numeric", month: "short" }));
const anyYear = once(() => formatter({ day: "numeric", month: "short", year: "numeric" }));
const weekday = once(() => formatter({ weekday: "long" }));
const timeOfDay = once(() => formatter({ hour: "numeric", minute: "2-digit" }));

/** Returns a function that creates a value when the value is first needed. */
function once(create) {
	let value;
	return () => {
		if (value === undefined) value = create();
		return value;
	};
}

/** The language of times. */
export function language() {
	return here().locale;
}

/** Whether the user's zone differs from the service's zone. */
export function zonesDiffer() {
	return (clock()?.resolvedOptions().timeZone ?? zone) !== here().timeZone;
}

export function number(n) {
	return numbers().format(n);
}

/** A text of the page, with `values` in its braces; `n` chooses the form of a plural. */
export function text(key, values = {}) {
	const forms = texts[key];
	return (forms.other ? (forms[plurals.select(values.n)] ?? forms.other) : forms).replace(/\{(\w+)\}/g, (_, name) =>
		name === "n" ? number(values.n) : values[name],
	);
}

/** Returns the user's text for use in a text of the page, isolated from its direction. */
export function quoted(words) {
	return `“\u2068${words}\u2069”`;
}

let second = 0;
let now = 0;
/** The wall times of this second, by their distance in days, because lists of todos need them often. */
const wallTimes = new Map();

/** Returns the wall time in `days` days. */
export function wallTime(days = 0) {
	if (second !== (second = Math.floor(Date.now() / 1000))) {
		now = clock() ? Date.parse(`${clock().format(second * 1000).replace(" ", "T")}Z`) : (second + Number(offset)) * 1000;
		wallTimes.clear();
	}
	if (!wallTimes.has(days)) wallTimes.set(days, new Date(now + days * DAY).toISOString().slice(0, 19));
	return wallTimes.get(days);
}

/** Returns the date in `days` days. */
export function today(days = 0) {
	return wallTime(days).slice(0, 10);
}

/** The first day of next week. */
export function nextWeek() {
	return today(((8 - weekdayOf(today())) % 7) || 7);
}

/** @param {import("./api.js").Todo} todo */
export function isOverdue(todo) {
	return !todo.completed && todo.deadline_at !== null && todo.deadline_at < wallTime();
}

/** Returns a function that returns the current group of a todo. */
export function makeGroupOf() {
	const { firstDay } = new Intl.Locale(language()).getWeekInfo?.() ?? { firstDay: 1 };
	const daysLeft = 7 - ((weekdayOf(today()) - firstDay + 7) % 7);
	const ends = { overdue: wallTime(), today: today(1), tomorrow: today(2), thisWeek: today(daysLeft) };
	const keys = Object.keys(ends);
	return ({ completed, deadline_at: deadline }) => {
		if (completed) return "completed";
		if (deadline === null) return "undated";
		return keys.find((key) => deadline < ends[key]) ?? "laterOn";
	};
}

/** A wall time in words: "tomorrow, 9:00". */
export function describe(wall) {
	const [day, time] = wall.split("T");
	const date = new Date(`${wall.slice(0, 19)}Z`);
	const days = Math.round((Date.parse(day) - Date.parse(today())) / DAY);
	let words = (wall.startsWith(today().slice(0, 5)) ? thisYear : anyYear)().format(date);
	if (Math.abs(days) <= 1) words = relative().format(days, "day");
	else if (days > 0 && days < 7) words = weekday().format(date);
	return time.startsWith(END_OF_DAY) ? words : `${words}, ${timeOfDay().format(date).replaceAll(" ", "\u00a0")}`;
}

/** How long ago an instant was, in words. */
export function ago(instant) {
	const minutes = Math.min(0, Math.round((Date.parse(instant) - Date.now()) / 60_000));
	if (minutes > -60) return relative().format(minutes, "minute");
	if (minutes > -1440) return relative().format(Math.round(minutes / 60), "hour");
	return relative().format(Math.round(minutes / 1440), "day");
}

/** 1 is Monday, 7 is Sunday. */
function weekdayOf(day) {
	return new Date(`${day}T00:00Z`).getUTCDay() || 7;
}

function formatter(options) {
	return new Intl.DateTimeFormat(locales, { ...options, timeZone: "UTC" });
}

/** Returns null if the browser does not know the zone: the offset that the service had then is used. */
function makeClock() {
	try {
		// Swedes write times as ISO 8601 does.
		return new Intl.DateTimeFormat("sv", { timeZone: zone, dateStyle: "short", timeStyle: "medium" });
	} catch {
		return null;
	}
}
