/** Finds a date at the end of a title: "Call Ann tomorrow", "Pay rent fri 17:00", "Party 31 Jan". */

import { END_OF_DAY, nextWeek, today } from "./words.js";

const WEEKDAYS = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const MONTHS = [
	"january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december",
];
const LONGEST_SEARCH = 8; // years, to the next 29 February

/** Words that begin as one of the names does. */
const like = (names) => `(?:${names.map((name) => name.slice(0, 3)).join("|")})[a-z]*`;
const month = like(MONTHS);
const dates = [
	`(?<d1>\\d{1,2})(?:st|nd|rd|th)? (?<m1>${month})\\.?(?:,? (?<y1>\\d{4}))?`,
	`(?<m2>${month})\\.? (?<d2>\\d{1,2})(?:st|nd|rd|th)?(?:,? (?<y2>\\d{4}))?`,
	"(?<y3>\\d{4})-(?<m3>\\d{2})-(?<d3>\\d{2})",
];
const day = `(?:(?:on|by|due) )?(?:(?<word>today|tomorrow|next week)|in (?<n>\\d{1,3}) (?<unit>day|week)s?|(?<weekday>${like(WEEKDAYS)})|${dates.join("|")})`;
const time =
	"(?:at )?(?:(?<h>\\d{1,2})(?:[:.](?<min>\\d{2}))? ?(?<half>[ap]m)|(?<hour>\\d{1,2}):(?<minute>\\d{2})|(?<noon>noon))";
const PHRASES = [`${time},? ${day}`, `${day}(?:,? ${time})?`].map((phrase) => new RegExp(`^(?<title>.*?\\S) ${phrase}$`, "i"));
/** "The sun" and "every Friday" are not dates. */
const UNFIT = /(?:^|\s)(?:a|an|the|this|next|last|every|each|all|of|in|since|until|till|before|after|from|to|black|good)$/i;

/**
 * @param {string} typed
 * @returns {{title: string, deadline_at: string} | null} null if no date is there
 */
export function findDate(typed) {
	const words = typed.trim().replace(/\s+/g, " ");
	const found = PHRASES.map((phrase) => phrase.exec(words)?.groups).find(Boolean);
	if (!found || UNFIT.test(found.title)) return null;
	const date = dayOf(found);
	const at = timeOf(found);
	return date && at && { title: found.title, deadline_at: `${date}T${at}` };
}

function dayOf({ word, n, unit, weekday, ...found }) {
	if (word) return { today: today(), tomorrow: today(1), "next week": nextWeek() }[word.toLowerCase()];
	if (n) return today(n * (unit.toLowerCase() === "week" ? 7 : 1));
	if (weekday) {
		const wanted = indexOf(WEEKDAYS, weekday);
		const current = new Date(`${today()}T00:00Z`).getUTCDay();
		return wanted < 0 ? null : today((wanted - current + 7) % 7 || 7);
	}
	const [d, m, y] = ["d", "m", "y"].map((part) => found[`${part}1`] ?? found[`${part}2`] ?? found[`${part}3`]);
	const monthNumber = Number(m) || indexOf(MONTHS, m) + 1;
	const asDate = (year) => {
		const date = `${year}-${String(monthNumber).padStart(2, "0")}-${d.padStart(2, "0")}`;
		const milliseconds = Date.parse(`${date}T00:00Z`);
		return new Date(milliseconds || 0).toISOString().startsWith(date) ? date : null;
	};
	if (y) return asDate(y);
	const year = Number(today().slice(0, 4));
	const years = Array.from({ length: LONGEST_SEARCH }, (_, i) => asDate(year + i));
	return years.find((date) => date && date >= today()) ?? null;
}

/** The place of a name, which may be shortened: "tue", "Sept". */
function indexOf(names, word) {
	return names.findIndex((name) => name.startsWith(word.toLowerCase()));
}

/** Returns null if the time does not exist on a clock. */
function timeOf({ noon, h, min, half, hour = h, minute = min ?? "00" }) {
	if (noon) return "12:00:00";
	if (!hour) return END_OF_DAY;
	if (half && (h < 1 || h > 12)) return null;
	const hours = half ? (h % 12) + (half.toLowerCase() === "pm" ? 12 : 0) : hour;
	return hours < 24 && minute < 60 ? `${String(hours).padStart(2, "0")}:${minute}:00` : null;
}
