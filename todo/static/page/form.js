/** The fields of a todo, in the forms that add and edit todos. */

import { findDate } from "./dates.js";
import { describe, END_OF_DAY, nextWeek, number, text, today } from "./words.js";

const LIMITS = { title: 80, description: 120 }; // characters
const PRESETS = { today: () => today(), tomorrow: () => today(1), nextWeek };
const PROCESS_KEY = 229; // an input method takes the key, https://www.w3.org/TR/uievents/#keys-IME
let forms = 0;

/** @typedef {import("./api.js").Members} Members */

/** Whether a key belongs to an input method. Safari sends the Enter that ends a conversion as 229 alone. */
export function isComposing(event) {
	return event.isComposing || event.keyCode === PROCESS_KEY;
}

export class TodoForm {
	#refusedDate = "";

	/**
	 * @param {(members: Members) => void} submit called with the typed values if they are valid
	 * @param {(sentence: string) => void} [announceDate] told of a date at the end of the title, if one is looked for
	 */
	constructor(form, submit, announceDate) {
		this.form = form;
		this.fields = ["title", "description", "date", "time"].map((name) => form.elements[name]);
		this.error = form.querySelector(".error");
		this.error.id = `error-${++forms}`;
		this.announceDate = announceDate;
		form.addEventListener("input", () => this.check());
		form.addEventListener("submit", (event) => {
			event.preventDefault();
			if (this.isEmpty) this.fields[0].focus();
			else if (this.check(true)) submit(this.read());
			else this.fields.find((field) => field.ariaInvalid).focus();
		});
		form.addEventListener("click", ({ target }) => {
			const button = target.closest("button");
			if (button?.dataset.preset) this.#choose(button);
			if (button?.matches(".chip")) this.#refuseDate();
		});
		form.addEventListener("keydown", (event) => {
			const { key, shiftKey, target } = event;
			if (key === "Escape" && this.found && !isComposing(event)) return this.#refuseDate();
			if (key !== "Enter") return;
			if (isComposing(event)) return event.preventDefault();
			// Enter saves from everywhere; Shift+Enter is a new line of the description.
			if (shiftKey || target.type !== "textarea") return;
			event.preventDefault();
			form.requestSubmit();
		});
	}

	/** The date at the end of the title, if it is used. */
	get found() {
		const [title, , date, time] = this.fields;
		if (!this.announceDate || date.value || time.value) return null;
		const found = findDate(title.value);
		return found && dateOf(title, found) !== this.#refusedDate ? found : null;
	}

	/** @returns {Members} */
	read() {
		const [title, description, date, time] = this.fields.map((field) => field.value.trim());
		const deadline_at = date ? `${date}T${time.length === 5 ? `${time}:00` : time || END_OF_DAY}` : null;
		return { title, description: description || null, deadline_at, ...this.found };
	}

	/** @param {Members} members */
	fill({ title, description, deadline_at: deadline }) {
		const [day, time = ""] = deadline?.split("T") ?? [""];
		// Fields have at most three fraction digits of a second.
		const short = time.replace(/:00$/, "").slice(0, 12);
		this.values = [title, description ?? "", day, time.startsWith(END_OF_DAY) ? "" : short];
	}

	get values() {
		return this.fields.map(({ value }) => value);
	}

	set values(values) {
		values.forEach((value, i) => (this.fields[i].value = value));
		this.#refusedDate = "";
		this.check();
	}

	get isEmpty() {
		return this.fields.every((field) => !field.value.trim() && !field.validity.badInput);
	}

	/** Shows the problems of the fields. Returns true if the fields are valid. */
	check(isSubmitting = false) {
		const [title, , date, time] = this.fields;
		this.form.classList.toggle("filled", !this.isEmpty);
		for (const preset of this.form.querySelectorAll("[data-preset]")) {
			preset.ariaPressed = String(date.value === PRESETS[preset.dataset.preset]());
		}
		this.#showChip();
		const faults = this.fields.map(faultOf);
		if (isSubmitting && !title.value.trim()) faults[0] ||= text(this.announceDate ? "needsTitle" : "needsTitleOrDelete");
		if (time.value && !date.value) faults[2] ||= text("needsDay");
		return this.#show(faults);
	}

	/** Shows why the service rejected the fields. */
	refuse({ errors, message }) {
		const names = { date: "deadline_at", time: "deadline_at" };
		const faults = this.fields.map(({ name }) => errors.some(({ pointer }) => pointer?.endsWith(names[name] ?? name)));
		this.#show(faults, text("rejected", { reason: message }));
		this.fields[Math.max(0, faults.indexOf(true))].focus();
	}

	#choose({ dataset }) {
		const [, , date] = this.fields;
		const day = PRESETS[dataset.preset]();
		date.value = date.value === day ? "" : day;
		// Listeners that store typed text expect this event.
		date.dispatchEvent(new Event("input", { bubbles: true }));
	}

	#refuseDate() {
		const [title] = this.fields;
		this.#refusedDate = dateOf(title, this.found);
		title.focus();
		this.check();
	}

	#showChip() {
		const chip = this.form.querySelector(".chip");
		if (!chip) return;
		const { found } = this;
		const sentence = found ? text("foundDate", { date: describe(found.deadline_at) }) : "";
		chip.hidden = !found;
		if (chip.firstChild.textContent === sentence) return;
		chip.firstChild.textContent = sentence;
		chip.ariaLabel = text("refuseDate", { date: sentence });
		if (found) this.announceDate(sentence);
	}

	#show(faults, message = faults.find(Boolean) || "") {
		this.fields.forEach((field, i) => {
			field.ariaInvalid = faults[i] ? "true" : null;
			field.setAttribute("aria-describedby", faults[i] ? this.error.id : "");
		});
		this.error.textContent = message;
		this.error.hidden = !message;
		return !message;
	}
}

/** Returns the words of the date at the end of the title. */
function dateOf(field, { title }) {
	return field.value.trim().slice(title.length).toLowerCase();
}

function faultOf({ name, value, validity }) {
	if (validity.badInput || validity.rangeOverflow) return text(name === "time" ? "halfTime" : "halfDate");
	// Count code points as the service does, not UTF-16 units.
	const excess = [...value.trim()].length - LIMITS[name];
	return excess > 0 && text("tooLong", { n: excess, limit: number(LIMITS[name]) });
}
