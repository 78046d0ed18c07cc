/**
 * The unconfirmed changes. They are sent one after the other. Each one is retried until the service responds,
 * and is executed once. Changes survive a reload and a closed window.
 *
 * @typedef {import("./api.js").Todo} Todo
 * @typedef {import("./api.js").Members} Members
 * @typedef {(
 *   | {kind: "create", id: number | string, key: string, members: Members}
 *   | {kind: "change", id: number | string, base: Todo, members: Members}
 *   | {kind: "remove", id: number | string, base: Todo}
 *   | {kind: "restore", id: number, todo: Todo}
 *   | {kind: "bulk", view: string, q: string, query: Record<string, string>, members: Members | null, done?: Todo[]}
 *   | {kind: "batch", operations: object[]}
 *   | {kind: "restoreAll", todos: Todo[]}
 * )} Change
 *   `base` is the todo that the user saw. The id of an unsaved todo is a string. A bulk change applies to all
 *   todos that match its query. Without members, it deletes them.
 */

import { changeTodo, createTodo, deleteTodo, getTodo, listTodos, newKey, Problem, restoreTodo, runBatch, Unauthorized, Unavailable } from "./api.js";
import { device } from "./store.js";

const STORED = "todo.outbox.";
const FIRST_PAUSE = 1; // seconds; doubled with each try
const LONGEST_PAUSE = 30;
const BATCH = 1000; // operations
const AT_ONCE = 6; // requests
const TRIES = 3; // of a write, while other clients change the same todo
const BEAT = 5000; // milliseconds between two heartbeats of a window
const GONE = 150_000; // milliseconds without a heartbeat; timers of hidden windows run once a minute

/** The user has not chosen between two versions yet. */
class Undecided extends Error {}

export class Outbox {
	/** @type {Change[]} */
	#queue = [];
	#name = STORED + newKey();
	/** The ETags of todos that were read or written individually. */
	#etags = new Map();
	#pause = FIRST_PAUSE;
	#timer = 0;
	#send = {
		create: (change) => this.#create(change),
		change: (change) => this.#write(change, (etag) => changeTodo(change.id, change.members, etag)),
		remove: (change) => this.#write(change, (etag) => deleteTodo(change.id, etag)),
		restore: (change) => this.#restore(change),
		bulk: (change) => this.#bulk(change),
		batch: (change) => this.#batch(change),
		restoreAll: (change) => this.#restoreAll(change),
	};

	/** Whether a request is in progress. */
	isSending = false;
	/** The number of changes with a response. Todos that were read before the last one are out of date. */
	answered = 0;

	/** @param handlers `confirmed`, `rejected`, `matches`, `decide` between two versions, and `state` */
	constructor(handlers) {
		this.handlers = handlers;
		this.#adopt();
		setInterval(() => {
			if (this.size) this.#save();
			if (this.#adopt()) this.run();
		}, BEAT);
		// Another window, or this window after a reload, takes over the changes immediately.
		addEventListener("pagehide", () => this.size && this.#save(0));
	}

	get size() {
		return this.#queue.length;
	}

	/** Whether the request of a new todo is in progress. The list may contain the todo already. */
	get isCreating() {
		return this.isSending && ["create", "batch"].includes(this.#queue[0]?.kind);
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

	/** Removes a change from the queue. Returns false if the change may have been sent already. */
	cancel(change) {
		const index = this.#queue.indexOf(change);
		if (index < 0 || change.isTried) return false;
		this.#queue.splice(index, 1);
		this.#save();
		this.run();
		return true;
	}

	/** The todos that the changes add to those of the service, newest first. */
	get additions() {
		const made = this.#queue.filter(({ kind }) => kind === "create").map(draft);
		const restored = this.#queue.flatMap(({ kind, todo, todos }) => ({ restore: [todo], restoreAll: todos })[kind] ?? []);
		return [...made.reverse(), ...restored];
	}

	/** Returns a todo with its pending changes, or null if it will be deleted. Without changes, returns `todo`. */
	withPending(todo) {
		let result = todo;
		for (const change of this.#queue) {
			const { kind, id, members } = change;
			if (kind === "bulk" ? !result || !this.handlers.matches(change, result) : id !== todo.id) continue;
			if (kind === "remove" || (kind === "bulk" && !members)) result = null;
			else if (kind === "restore") result = change.todo;
			else if (kind !== "create") result = result && { ...result, ...members };
		}
		return result;
	}

	/** Sends the remaining changes now. */
	async run() {
		if (this.isSending) return;
		this.isSending = true;
		clearTimeout(this.#timer);
		try {
			while (this.size) await this.#sendFirst();
			this.#pause = FIRST_PAUSE;
			this.isSending = false;
			this.handlers.state("idle");
		} catch (error) {
			this.isSending = false;
			if (error instanceof Undecided) this.handlers.state("undecided");
			else if (error instanceof Unauthorized) this.handlers.state("signedOut");
			else if (error instanceof Unavailable) {
				this.handlers.state("waiting", error);
				this.#timer = setTimeout(() => this.run(), Math.max(this.#pause, error.retryAfter) * 1000);
				this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE);
			} else throw error;
		}
	}

	async #sendFirst() {
		const change = this.#queue[0];
		change.isTried = true;
		this.handlers.state("sending");
		let problem;
		const todo = await this.#send[change.kind](change).catch((error) => {
			if (!(error instanceof Problem)) throw error;
			problem = error;
		});
		this.#queue.shift();
		this.#save();
		this.answered += 1;
		if (problem) this.handlers.rejected(change, problem);
		else this.handlers.confirmed(change, todo);
	}

	async #create(change) {
		const { todo, etag } = await createTodo(change.members, change.key);
		this.#etags.set(todo.id, etag);
		for (const later of this.#queue.slice(1)) if (later.id === change.id) later.id = todo.id;
		return todo;
	}

	/**
	 * Changes the current version, unless another client changed the same members.
	 *
	 * A list has no ETags, so a todo is read and compared before its first write. If the todo already has the
	 * new values, the change was executed, and its response was lost.
	 */
	async #write(change, write) {
		let refused;
		for (let tries = 1; ; tries++) {
			let etag = this.#etags.get(change.id);
			if (!etag) {
				const current = await getTodo(change.id);
				const theirs = current?.todo;
				if (change.members ? theirs && isLike(theirs, change.members) : !theirs) return theirs;
				if (isConflict(change, theirs)) {
					const choice = await this.handlers.decide(change, theirs);
					if (!choice) throw new Undecided();
					if (choice === "theirs") return theirs;
				}
				if (!theirs) {
					const restored = await restoreTodo(change.id);
					if (!restored) return this.#createAgain(change, { ...change.base, ...change.members });
					this.#etags.set(change.id, restored.etag);
					change.base = restored.todo;
					continue;
				}
				// The version that the user saw, or agreed to overwrite.
				change.base = theirs;
				etag = current.etag;
			}
			this.#etags.delete(change.id);
			// A proxy may have changed the tag: without progress, the pause grows.
			if (etag === refused?.etag || tries > TRIES) throw new Unavailable(refused.message);
			try {
				const written = await write(etag);
				this.#etags.set(change.id, written?.etag);
				return written?.todo;
			} catch (error) {
				if (error.status !== 412 && error.status !== 404) throw error;
				refused = { etag, message: error.message };
			}
		}
	}

	async #restore(change) {
		const restored = await restoreTodo(change.id);
		if (!restored) return this.#createAgain(change, change.todo);
		this.#etags.set(change.id, restored.etag);
		return restored.todo;
	}

	/** Creates a new todo to replace a todo that cannot be restored. */
	#createAgain(change, todo) {
		Object.assign(change, { kind: "create", members: membersOf(todo), key: newKey() });
		this.#save();
		return this.#create(change);
	}

	/** Changes all matching todos in batches. */
	async #bulk(change) {
		change.done ??= [];
		for (;;) {
			if (!change.operations) {
				const seen = new Set(change.done.map(({ id }) => id));
				const { todos } = await listTodos({ ...change.query, limit: BATCH });
				// A todo that is found again was changed back by another client, or comes from a cache.
				change.todos = todos.filter(({ id }) => !seen.has(id));
				if (!change.todos.length) return;
				// `*` matches any version of an existing todo.
				const common = change.members ? { op: "update", todo: change.members } : { op: "delete" };
				change.operations = change.todos.map(({ id }) => ({ ...common, id, if_match: "*" }));
			}
			const results = await this.#batch(change);
			change.done.push(...change.todos);
			delete change.operations;
			// Restore todos that another client reopened before they were deleted as completed.
			const reopened = results.filter((todo) => !change.members && todo.completed === false);
			if (reopened.length) this.#queue.push({ kind: "restoreAll", todos: reopened });
		}
	}

	/** Runs the operations of a change, except for deleted todos. */
	async #batch(change) {
		const { operations, todos = [] } = change;
		while (operations.length) {
			change.key ??= newKey();
			this.#save();
			try {
				const results = await runBatch(operations, change.key);
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

	/** Restores todos, several at a time. Creates todos again that the service no longer has. */
	async #restoreAll(change) {
		const { todos } = change;
		const lost = (change.lost ??= []);
		while (todos.length) {
			const some = todos.slice(0, AT_ONCE);
			const results = await Promise.all(some.map(({ id }) => restoreTodo(id)));
			todos.splice(0, some.length);
			lost.push(...some.filter((_, i) => !results[i]));
			// The service keeps no deleted todos.
			if (results.every((result) => !result)) lost.push(...todos.splice(0));
		}
		const operations = lost.map((todo) => ({ op: "create", todo: membersOf(todo) }));
		while (operations.length) this.#queue.push({ kind: "batch", operations: operations.splice(0, BATCH) });
	}

	/** Takes over the changes of closed windows. Returns false if there are none. */
	#adopt() {
		const size = this.size;
		for (const name of device.names.filter((key) => key.startsWith(STORED) && key !== this.#name)) {
			const { alive = 0, queue = [] } = device.get(name) ?? {};
			if (Date.now() - alive < GONE) continue;
			device.remove(name);
			this.#queue.push(...queue.filter((change) => Object.hasOwn(this.#send, change?.kind)));
		}
		if (this.size > size) this.#save();
		return this.size > size;
	}

	#save(alive = Date.now()) {
		if (!this.size) return device.remove(this.#name);
		// In another window, a bulk change starts again with the remaining todos.
		const queue = this.#queue.map(({ todos, operations, done, key, ...change }) =>
			change.kind === "bulk" ? change : { ...change, todos, operations, key },
		);
		device.set(this.#name, { alive, queue });
	}
}

/** Returns the members of a todo that can be sent. */
export function membersOf({ title, description, completed, deadline_at }) {
	return { title, description, completed, deadline_at };
}

/** Returns the todo that a change will create. @returns {Todo} */
export function draft({ id, members }) {
	return { id, description: null, completed: false, deadline_at: null, ...members };
}

/** Whether both clients changed the same member differently. For a deletion: whether the other changed anything. */
function isConflict({ base, members }, theirs) {
	if (!theirs) return true;
	return Object.keys(members ?? membersOf(base)).some(
		(name) => theirs[name] !== base[name] && theirs[name] !== members?.[name],
	);
}

function isLike(todo, members) {
	return Object.entries(members).every(([name, value]) => todo[name] === value);
}
