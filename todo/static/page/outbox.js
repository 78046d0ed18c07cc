/**
 * The changes that the service has not confirmed yet. They are sent in turn, each again and again until
 * it is answered, without doing anything twice, and they outlive a reload.
 *
 * @typedef {import("./api.js").Todo} Todo
 * @typedef {import("./api.js").Members} Members
 * @typedef {(
 *   | {kind: "create", id: number | string, key: string, members: Members}
 *   | {kind: "change", id: number | string, base: Todo, members: Members}
 *   | {kind: "remove", id: number | string, base: Todo}
 *   | {kind: "sweep", query: Record<string, string>, members: Members | null, swept?: Todo[]}
 *   | {kind: "batch", operations: object[]}
 * )} Change
 *   `base` is the todo as it was seen; the id of one that the service does not know yet is a text.
 *   A sweep changes all that match its query, or without members removes them.
 */

import * as api from "./api.js";

const STORED = "todo.outbox";
const FIRST_PAUSE = 1; // seconds; doubled with each try
const LONGEST_PAUSE = 30;
const BATCH = 1000; // operations

/** Nobody chose between two versions yet. */
class Undecided extends Error {}

export class Outbox {
	/** @type {Change[]} */
	#queue = JSON.parse(sessionStorage.getItem(STORED) ?? "[]");
	/** The ETags of todos that were read or written one by one. */
	#etags = new Map();
	#sending = false;
	#pause = FIRST_PAUSE;
	#timer = 0;

	/** How many changes were answered: what was read before the last of them is out of date. */
	answered = 0;

	/** @param handlers `confirmed`, `rejected`, `decide` between two versions, and `state` */
	constructor(handlers) {
		this.handlers = handlers;
	}

	get size() {
		return this.#queue.length;
	}

	holds(id) {
		return this.#queue.some((change) => change.id === id);
	}

	/** @param {Change} change */
	add(change) {
		this.#queue.push(change);
		this.#save();
		this.run();
	}

	/** Todos of the service as they will be, those that it does not know yet before them. */
	foresee(todos) {
		const drafts = this.#queue.filter(({ kind }) => kind === "create").map(draft);
		return [...drafts.reverse(), ...todos].map((todo) => this.overlay(todo)).filter(Boolean);
	}

	/** A todo as it will be; null where it will be gone. */
	overlay(todo) {
		const changes = this.#queue.filter(({ id }) => id === todo.id);
		if (changes.some(({ kind }) => kind === "remove")) return null;
		return Object.assign({}, todo, ...changes.map(({ members }) => members));
	}

	/** Sends what is left, now. */
	async run() {
		if (this.#sending) return;
		this.#sending = true;
		clearTimeout(this.#timer);
		try {
			while (this.size) await this.#sendFirst();
			this.#pause = FIRST_PAUSE;
			this.handlers.state("idle");
		} catch (error) {
			if (error instanceof Undecided) this.handlers.state("undecided");
			else if (error instanceof api.Unavailable) {
				this.handlers.state("waiting", error);
				this.#timer = setTimeout(() => this.run(), Math.max(this.#pause, error.retryAfter) * 1000);
				this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE);
			} else throw error;
		} finally {
			this.#sending = false;
		}
	}

	async #sendFirst() {
		const change = this.#queue[0];
		this.handlers.state("sending");
		let problem;
		const todo = await this.#send[change.kind](change).catch((error) => {
			if (!(error instanceof api.Problem)) throw error;
			problem = error;
		});
		this.#queue.shift();
		this.#save();
		this.answered += 1;
		if (problem) this.handlers.rejected(change, problem);
		else this.handlers.confirmed(change, todo);
	}

	#send = {
		create: (change) => this.#create(change),
		change: (change) => this.#write(change, (etag) => api.change(change.id, change.members, etag)),
		remove: (change) => this.#write(change, (etag) => api.remove(change.id, etag)),
		sweep: (change) => this.#sweep(change),
		batch: (change) => this.#batch(change),
	};

	async #create(change) {
		const { todo, etag } = await api.create(change.members, change.key);
		this.#etags.set(todo.id, etag);
		for (const later of this.#queue.slice(1)) if (later.id === change.id) later.id = todo.id;
		return todo;
	}

	/**
	 * Writes on top of the version that was seen, and of no other.
	 *
	 * A list has no ETags: a todo is read, and compared, before the first write to it. Where it is what the
	 * change would make it, that was done, and the answer lost.
	 */
	async #write(change, write) {
		for (;;) {
			let etag = this.#etags.get(change.id);
			if (!etag) {
				const current = await api.get(change.id);
				const theirs = current?.todo;
				if (change.members ? theirs && isLike(theirs, change.members) : !theirs) return theirs;
				if (!theirs || !isLike(theirs, membersOf(change.base))) {
					const choice = await this.handlers.decide(change, theirs);
					if (!choice) throw new Undecided();
					if (choice === "theirs") return theirs;
					if (!theirs) return this.#makeAgain(change);
					// All of the version that was shown, not only what was changed in it.
					if (change.members) change.members = membersOf({ ...change.base, ...change.members });
					change.base = theirs;
				}
				etag = current.etag;
			}
			this.#etags.delete(change.id);
			try {
				const written = await write(etag);
				this.#etags.set(change.id, written?.etag);
				return written?.todo;
			} catch (error) {
				if (error.status !== 412 && error.status !== 404) throw error;
			}
		}
	}

	/** What was deleted elsewhere becomes a new todo. */
	#makeAgain(change) {
		const members = membersOf({ ...change.base, ...change.members });
		Object.assign(change, { kind: "create", members, key: api.newKey() });
		this.#save();
		return this.#create(change);
	}

	/** Changes all that match, as many at a time as a batch holds. */
	async #sweep(change) {
		change.swept ??= [];
		for (;;) {
			if (!change.operations) {
				change.todos = (await api.list({ ...change.query, limit: BATCH })).todos;
				if (!change.todos.length) return;
				// `*` is any version, but none that is gone.
				const common = change.members ? { op: "update", todo: change.members } : { op: "delete" };
				change.operations = change.todos.map(({ id }) => ({ ...common, id, if_match: "*" }));
			}
			const results = await this.#batch(change);
			change.swept.push(...change.todos);
			delete change.operations;
			// What was no longer completed when it was cleared away as completed is made again.
			const spared = results.filter((todo) => !change.members && todo.completed === false);
			if (spared.length) this.#queue.push({ kind: "batch", operations: spared.map(creation) });
		}
	}

	/** Runs the operations of a change, but for those on todos that are gone meanwhile. */
	async #batch(change) {
		const { operations, todos = [] } = change;
		while (operations.length) {
			change.key ??= api.newKey();
			this.#save();
			try {
				const results = await api.batch(operations, change.key);
				delete change.key;
				return results;
			} catch (error) {
				const [, index] = /operations\/(\d+)/.exec(error.errors?.[0]?.pointer) ?? [];
				if (!index || (error.status !== 404 && error.status !== 412)) throw error;
				operations.splice(index, 1);
				todos.splice(index, 1);
				delete change.key;
			}
		}
		return [];
	}

	#save() {
		// After a reload a sweep begins again, with what is left.
		const kept = this.#queue.map(({ kind, query, members, ...rest }) =>
			kind === "sweep" ? { kind, query, members } : { kind, members, ...rest },
		);
		try {
			if (this.size) sessionStorage.setItem(STORED, JSON.stringify(kept));
			else sessionStorage.removeItem(STORED);
		} catch {
			// There is no room: they live as long as the page.
		}
	}
}

/** The operation of a batch that makes a todo again. */
export function creation(todo) {
	return { op: "create", todo: membersOf(todo) };
}

/** What can be sent of a todo. */
export function membersOf({ title, description, completed, deadline_at }) {
	return { title, description, completed, deadline_at };
}

/** The todo that a change will create. @returns {Todo} */
export function draft({ id, members }) {
	return { id, completed: false, ...members };
}

function isLike(todo, members) {
	return Object.entries(members).every(([name, value]) => todo[name] === value);
}
