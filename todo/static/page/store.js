/** Values that the page stores in the browser, as JSON. Without storage, values last as long as the page. */

class Store {
	#area = null;
	#memory = new Map();

	constructor(name) {
		try {
			const area = window[name];
			area.setItem("todo", "");
			area.removeItem("todo");
			this.#area = area;
		} catch {
			// Site data is blocked, or the storage is full.
		}
	}

	get isPersistent() {
		return this.#area !== null;
	}

	keys() {
		return this.#area ? Object.keys(this.#area) : [...this.#memory.keys()];
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
