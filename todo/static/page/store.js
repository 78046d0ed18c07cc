/** Values that the page stores in the browser, as JSON. Without storage, values last as long as the page. */

class Store {
	#area = null;
	#memory = new Map();

	constructor(name) {
		try {
			this.#area = window[name];
		} catch {
			// Site data is blocked.
		}
	}

	/** Whether no value is in memory only. */
	get isPersistent() {
		return !this.#memory.size;
	}

	/** The names of the stored values, those of other windows included. */
	get names() {
		return Object.keys(this.#area ?? {});
	}

	/** Returns null if the value is missing or damaged. */
	get(name) {
		try {
			return JSON.parse(this.#memory.get(name) ?? this.#area?.getItem(name) ?? null);
		} catch {
			return null;
		}
	}

	set(name, value) {
		const text = JSON.stringify(value);
		this.#memory.delete(name);
		try {
			this.#area.setItem(name, text);
		} catch {
			// The storage is blocked or full.
			this.#memory.set(name, text);
		}
	}

	remove(name) {
		this.#memory.delete(name);
		this.#area?.removeItem(name);
	}
}

/** The store of all windows, which is kept when the windows are closed. */
export const device = new Store("localStorage");
/** The store of this window until it is closed. */
export const session = new Store("sessionStorage");
