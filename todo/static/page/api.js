/**
 * The API of the service: a function for each operation that the page needs.
 *
 * They throw a `Problem` where the service refuses, and `Unavailable` where it can't be reached or can't
 * serve now. A write may have been carried out then, and is safe to send again: a POST with the same
 * Idempotency-Key, others with the same If-Match.
 *
 * @typedef {{id: number | string, title: string, description: string | null, completed: boolean,
 *   deadline_at: string | null}} Todo
 * @typedef {Partial<Omit<Todo, "id">>} Members
 */

const ROOT = new URL("api/v1/todos", document.baseURI);
const PATIENCE = 20_000; // milliseconds
const PASSING = [408, 409, 429]; // and all from 500 up
const TOKEN = "todo.token";

/** The service refused; `errors` names the members at fault (RFC 9457). */
export class Problem extends Error {
	constructor(status, { detail, errors = [] }) {
		super(detail);
		Object.assign(this, { status, errors });
	}
}

export class Unavailable extends Error {
	/** @param {number} [retryAfter] seconds that the service asks to wait */
	constructor(message, retryAfter = 0) {
		super(message);
		this.retryAfter = retryAfter;
	}
}

/** The token that requests carry, for as long as this window is open; `ask` is set by who can. */
export const token = {
	/** @type {(refused: boolean) => Promise<string>} */
	ask: null,
	get: () => sessionStorage.getItem(TOKEN),
	forget: () => sessionStorage.removeItem(TOKEN),
};

/** A page of the list, with the cursor of the `next` one; null where it is the one with `etag` still. */
export async function list(query, { etag = "", signal } = {}) {
	const headers = etag && { "If-None-Match": etag };
	const response = await send("GET", `?${new URLSearchParams(query)}`, { headers, signal });
	if (response.status === 304) return null;
	const link = /<(.*)>; rel="next"/.exec(response.headers.get("Link"));
	return {
		todos: await response.json(),
		// Without its host, which a proxy may know by another name.
		next: link && new URL(link[1]).searchParams.get("cursor"),
		total: Number(response.headers.get("X-Total-Count")),
		etag: response.headers.get("ETag"),
	};
}

/** How many todos match. */
export async function count(query) {
	return (await list({ ...query, limit: "1", total: "true" })).total;
}

/** A todo as it is now, with its ETag; null where it is gone. */
export async function get(id) {
	try {
		return await version(send("GET", `/${id}`));
	} catch (error) {
		if (error.status === 404) return null;
		throw error;
	}
}

/** Makes a todo. @param {Members} members */
export function create(members, key) {
	return version(send("POST", "", { body: members, headers: { "Idempotency-Key": key } }));
}

/** Changes a todo, where it is the version with `etag` still. @param {Members} members */
export function change(id, members, etag) {
	return version(send("PATCH", `/${id}`, { body: members, headers: { "If-Match": etag } }));
}

export async function remove(id, etag) {
	await send("DELETE", `/${id}`, { headers: { "If-Match": etag } });
}

/** Carries out up to 1,000 operations, all or none. */
export async function batch(operations, key) {
	const request = { body: { operations }, headers: { "Idempotency-Key": key } };
	return (await (await send("POST", "/batch", request)).json()).results;
}

/** Makes an Idempotency-Key. (`crypto.randomUUID` is not there on plain HTTP.) */
export function newKey() {
	return crypto.getRandomValues(new Uint32Array(4)).join("-");
}

async function version(sent) {
	const response = await sent;
	return { todo: await response.json(), etag: response.headers.get("ETag") };
}

async function send(method, path, { body, headers, signal } = {}) {
	for (;;) {
		const known = token.get();
		const response = await reach(path, {
			method,
			body: body && JSON.stringify(body),
			headers: {
				...headers,
				...(body && { "Content-Type": "application/json" }),
				...(known && { Authorization: `Bearer ${known}` }),
			},
			cache: "no-store",
			signal,
		});
		if (response.ok || response.status === 304) return response;
		const problem = await response.json().catch(() => ({ detail: response.statusText }));
		if (response.status === 401) {
			// Another request may have got a new one meanwhile.
			if (token.get() === known) await askOnce(known !== null);
		} else if (response.status >= 500 || PASSING.includes(response.status)) {
			throw new Unavailable(problem.detail, Number(response.headers.get("Retry-After")));
		} else throw new Problem(response.status, problem);
	}
}

async function reach(path, request) {
	const signals = [request.signal, AbortSignal.timeout(PATIENCE)].filter(Boolean);
	try {
		return await fetch(ROOT + path, { ...request, signal: AbortSignal.any(signals) });
	} catch {
		throw new Unavailable("");
	}
}

let asking = null;

/** All requests that are refused meanwhile wait for one answer. */
function askOnce(refused) {
	asking ??= token.ask(refused).then((value) => {
		sessionStorage.setItem(TOKEN, value);
		asking = null;
	});
	return asking;
}
