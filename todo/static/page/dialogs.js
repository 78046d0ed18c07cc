/** The dialogs of the page. */

import { token } from "./api.js";
import { describe, text } from "./words.js";

/** @returns {Promise<string>} the value of the button that closed it, empty if it was put off */
function ask(id, prepare) {
	const dialog = document.getElementById(id).content.firstElementChild.cloneNode(true);
	prepare(dialog);
	document.body.append(dialog);
	dialog.addEventListener("click", ({ target }) => target.matches("button[value]") && dialog.close(target.value));
	dialog.showModal();
	return new Promise((resolve) => {
		dialog.onclose = () => {
			dialog.remove();
			resolve(dialog.returnValue);
		};
	});
}

/**
 * Asks which of two versions of a todo to keep.
 *
 * @param {import("./outbox.js").Change} change
 * @param {import("./api.js").Todo | undefined} theirs undefined if it was deleted
 */
export function askForVersion({ base, members }, theirs) {
	const mine = members && { ...(theirs ?? base), ...members };
	return ask("conflict", (dialog) => {
		dialog.querySelector(".of").textContent = base.title;
		const [left, right] = dialog.querySelectorAll("section");
		// Both sides have the same parts.
		right.firstElementChild.after(...[...left.querySelectorAll("p, dl")].map((part) => part.cloneNode(true)));
		show(left, mine, theirs);
		show(right, theirs, mine);
	});
}

/** Shows the members of a version that differ from the other one; all of them if the other was deleted. */
function show(section, todo, other) {
	section.querySelector("dl").hidden = !todo;
	section.querySelector(".gone").hidden = Boolean(todo);
	if (!todo) return;
	for (const [name, value] of Object.entries(valuesOf(todo))) {
		const term = section.querySelector(`[data-member=${name}]`);
		term.hidden = value === undefined || (other && value === valuesOf(other)[name]);
		term.querySelector("dd").textContent = value;
	}
}

function valuesOf({ title, description, deadline_at: deadline, completed }) {
	return {
		title,
		description: description === null ? text("none") : description,
		deadline_at: deadline ? describe(deadline) : deadline === null ? text("none") : undefined,
		completed: completed === undefined ? undefined : text(completed ? "stateCompleted" : "stateActive"),
	};
}

/** Asks for a token. @returns {Promise<boolean>} whether one was given */
export async function askForToken() {
	let isGiven = false;
	await ask("sign-in", (dialog) => {
		const { token: field, remember } = dialog.querySelector("form").elements;
		const error = dialog.querySelector(".error");
		error.hidden = !token.get();
		dialog.addEventListener("submit", (event) => {
			event.preventDefault();
			isGiven = token.set(field.value.trim(), remember.checked);
			error.hidden = isGiven;
			if (isGiven) dialog.close();
			else field.focus();
		});
	});
	return isGiven;
}

/** Shows the address of the calendar feed. */
export function subscribe() {
	return ask("feed", (dialog) => {
		const field = dialog.querySelector("input");
		field.value = new URL(field.dataset.path, location.href).href;
		const copy = dialog.querySelector(".copy");
		copy.addEventListener("click", async () => {
			field.select();
			// On plain HTTP there is no clipboard.
			await (navigator.clipboard?.writeText(field.value) ?? document.execCommand("copy"));
			copy.textContent = text("copied");
		});
	});
}

/** Lists the keys. */
export function showKeys() {
	return ask("keys", () => {});
}
