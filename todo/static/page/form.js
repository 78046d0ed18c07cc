/** The fields of a todo, in the form that adds one as in the one that edits. */

import { text } from "./words.js";

const LIMITS = { title: 80, description: 120 }; // characters
let forms = 0;

/** @typedef {import("./api.js").Members} Members */

export class TodoForm {
	/** @param {(members: Members) => void} submit called with what was typed, once it can be sent */
	constructor(form, submit) {
		this.form = form;
		this.fields = ["title", "description", "deadline_at"].map((name) => form.elements[name]);
		this.error = form.querySelector(".error");
		this.error.id = `error-${++forms}`;
		form.addEventListener("input", () => this.check());
		form.addEventListener("submit", (event) => {
			event.preventDefault();
			if (this.check()) submit(this.read());
			else this.fields.find((field) => field.ariaInvalid).focus();
		});
		// Enter saves from everywhere; Shift+Enter is a new line of the description.
		form.addEventListener("keydown", (event) => {
			const { key, shiftKey, isComposing, target } = event;
			if (key !== "Enter" || shiftKey || isComposing || target.type !== "textarea") return;
			event.preventDefault();
			form.requestSubmit();
		});
	}

	/** @returns {Members} */
	read() {
		const [title, description, deadline] = this.fields.map((field) => field.value.trim());
		// Seconds, which the service always gives, are only in a field that has some.
		const deadline_at = deadline.length === 16 ? `${deadline}:00` : deadline || null;
		return { title, description: description || null, deadline_at };
	}

	/** @param {Members} members */
	fill(members) {
		const [title, description, deadline] = this.fields;
		title.value = members.title;
		description.value = members.description ?? "";
		// No field holds more than three digits of a second.
		deadline.value = members.deadline_at?.slice(0, 23) ?? "";
		this.check();
	}

	get isEmpty() {
		return this.fields.every((field) => !field.value && !field.validity.badInput);
	}

	/** Says what keeps the fields from being sent; true where nothing does. */
	check() {
		this.form.classList.toggle("filled", !this.isEmpty);
		return this.#show(this.fields.map(faultOf));
	}

	/** Says why the service refused. */
	refuse({ errors, message }) {
		const faults = this.fields.map(({ name }) => errors.some(({ pointer }) => pointer?.endsWith(name)));
		this.#show(faults, text("rejected", { reason: message }));
		this.fields[Math.max(0, faults.indexOf(true))].focus();
	}

	#show(faults, message = faults.find(Boolean) ?? "") {
		this.fields.forEach((field, i) => {
			field.ariaInvalid = faults[i] ? "true" : null;
			field.setAttribute("aria-describedby", faults[i] ? this.error.id : "");
		});
		this.error.textContent = message;
		this.error.hidden = !message;
		return !message;
	}
}

function faultOf({ name, value, validity }) {
	if (validity.badInput || validity.rangeOverflow) return text("halfDeadline");
	// Characters as the service counts them, not halves of an emoji.
	const excess = [...value.trim()].length - LIMITS[name];
	return excess > 0 && text("tooLong", { n: excess });
}
