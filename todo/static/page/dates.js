/** Finds a date at the end of a title: "Call Ann tomorrow", "Pay rent fri 17:00", "Party 31 Jan". */

import { END_OF_DAY, nextWeek, today } from "./words.js";

const WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const LONGEST_SEARCH = 8; // years, to the next 29 February

const weekday = "(?<weekday>(?:sun|mon|fri)(?:day)?|tue(?:s(?:day)?)?|wed(?:nesday)?|thu(?:rs?(?:day)?)?|sat(?:urday)?)";
const month =
	"jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?";
const dated = [
	`(?<d1>\\d{1,2})(?:st|nd|rd|th)? (?<m1>${month})\\.?(?:,? (?<y1>\\d{4}))?`,
	`(?<m2>${month})\\.? (?<d2>\\d{1,2})(?:st|nd|rd|th)?(?:,? (?<y2>\\d{4}))?`,
	"(?<y3>\\d{4})-(?<m3>\\d{2})-(?<d3>\\d{2})",
];
const day = `(?:(?:on|by|due) )?(?:(?<word>today|tomorrow|next week)|in (?<n>\\d{1,3}) (?<unit>day|week)s?|${weekday}|${dated.join("|")})`;
const time = (i) =>
	`(?:at )?(?:(?<h${i}>\\d{1,2})(?:[:.](?<min${i}>\\d{2}))? ?(?<half${i}>[ap]m)|(?<hour${i}>\\d{1,2}):(?<minute${i}>\\d{2})|(?<noon${i}>noon))`;
const PHRASE = new RegExp(`^(?<title>.*?\\S) (?:${day}(?:,? ${time(1)})?|${time(2)},? ${day.replace(/\?<(\w+)>/g, "?<$1x>")})$`, "i");
/** "The sun" and "every Friday" are no dates. */
const UNFIT = /(?:^|\s)(?:a|an|the|this|next|last|every|each|all|of|in|since|until|till|before|after|from|to|black|good)$/i;

/**
 * @param {string} typed
 * @returns {{title: string, deadline_at: string} | null} null if no date is there
 */
export function findDate(typed) {
	const found = PHRASE.exec(typed.trim().replace(/\s+/g, " "))?.groups;
	if (!found || UNFIT.test(found.title)) return null;
	const get = (name) => found[name] ?? found[`${name}x`];
	const date = dayOf(get);
	const at = timeOf(found);
	return date && at && { title: found.title, deadline_at: `${date}T${at}` };
}

function dayOf(get) {
	const word = get("word")?.toLowerCase();
	if (word) return { today: today(), tomorrow: today(1), "next week": nextWeek() }[word];
	if (get("n")) return today(get("n") * (get("unit").toLowerCase() === "week" ? 7 : 1));
	if (get("weekday")) {
		const wanted = WEEKDAYS.indexOf(get("weekday").slice(0, 3).toLowerCase());
		const current = new Date(`${today()}T00:00Z`).getUTCDay();
		return today((wanted - current + 7) % 7 || 7);
	}
	const [d, m, y] = ["d", "m", "y"].map((part) => [1, 2, 3].map((i) => get(part + i)).find(Boolean));
	const monthNumber = /^\d/.test(m) ? Number(m) : MONTHS.indexOf(m.slice(0, 3).toLowerCase()) + 1;
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

/** Null if no clock shows the time. */
function timeOf(found) {
	for (const i of [1, 2]) {
		if (found[`noon${i}`]) return "12:00:00";
		const half = found[`half${i}`]?.toLowerCase();
		let hour = found[`h${i}`] ?? found[`hour${i}`];
		if (hour === undefined) continue;
		if (half && (hour < 1 || hour > 12)) return null;
		if (half) hour = (hour % 12) + (half === "pm" ? 12 : 0);
		const minute = found[`min${i}`] ?? found[`minute${i}`] ?? "00";
		return hour < 24 && minute < 60 ? `${String(hour).padStart(2, "0")}:${minute}:00` : null;
	}
	return END_OF_DAY;
}
