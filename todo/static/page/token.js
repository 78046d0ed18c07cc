/** Asks for the token that the service wants. */

const DIALOG = document.getElementById("token").content.firstElementChild;

/**
 * @param {boolean} refused whether one was sent, and refused
 * @returns {Promise<string>}
 */
export function ask(refused) {
	const dialog = DIALOG.cloneNode(true);
	dialog.querySelector(".error").hidden = !refused;
	document.body.append(dialog);
	dialog.showModal();
	return new Promise((resolve) => {
		// Nothing can be shown without one.
		dialog.oncancel = (event) => event.preventDefault();
		dialog.onsubmit = (event) => {
			event.preventDefault();
			const token = event.target.elements.token.value.trim();
			if (!token) return;
			dialog.remove();
			resolve(token);
		};
	});
}
