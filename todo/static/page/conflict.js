/** Asks which of two versions of a todo to keep. */

import { shortTime, text } from "./words.js";

const DIALOG = document.getElementById("conflict").content.firstElementChild;

/**
 * @param {import("./outbox.js").Change} change
 * @param {import("./api.js").Todo | undefined} theirs undefined where it was deleted
 * @returns {Promise<"mine" | "theirs" | "">} empty where the choice is put off
 */
export function ask({ base, members }, theirs) {
	const mine = members ? { ...base, ...members } : null;
	const dialog = DIALOG.cloneNode(true);
	const [left, right] = dialog.querySelectorAll("section");
	show(left, mine, theirs);
	show(right, theirs, mine);
	document.body.append(dialog);
	dialog.showModal();
	return new Promise((resolve) => {
		dialog.onclick = ({ target }) => target.value !== undefined && dialog.close(target.value);
		dialog.onclose = () => {
			dialog.remove();
			resolve(dialog.returnValue);
		};
	});
}

/** Shows a version, and marks what is another way in the other. */
function show(section, todo, other) {
	section.querySelector("dl").hidden = !todo;
	section.querySelector(".gone").hidden = Boolean(todo);
	if (!todo) return;
	const terms = section.querySelectorAll("dt");
	const others = other ? valuesOf(other) : [];
	valuesOf(todo).forEach((value, i) => {
		terms[i].nextElementSibling.textContent = value;
		terms[i].classList.toggle("differs", Boolean(other) && value !== others[i]);
	});
}

function valuesOf({ title, description, deadline_at: deadline, completed }) {
	const none = text("none");
	const state = text(completed ? "stateCompleted" : "stateActive");
	return [title, description ?? none, deadline ? shortTime(deadline) : none, state];
}
