/**
 * The API of the service: a function for each operation that the page needs.
 *
 * The functions throw `Problem` if the service rejects the request, `Unauthorized` if it requires a token, and
 * `Unavailable` if it is unreachable or unavailable. A write may have been executed then, and is safe to repeat:
 * a POST with the same Idempotency-Key, other methods with the same If-Match.
 *
 * @typedef {{id: number | string, title: string, description: string | null, completed: boolean,
 *   deadline_at: string | null}} Todo
 * @typedef {Partial<Omit<Todo, "id">>} Members
 */

import { device, session } from "./store.js";

const { root } = document.documentElement.dataset;
const TODOS = new URL(`${root}api/v1/todos`, location.href);
const TIMEOUT = 20_000; // milliseconds
const PASSING = [408, 409, 429]; // and all from 500 up
const TOKEN = "todo.token";

/** The service rejected the request. `errors` names the invalid members (RFC 9457). */
export class Problem extends Error {
	constructor(status, { detail, errors = [] }) {
		super(detail);
		Object.assign(this, { status, errors });
	}
}

/** A token is missing or no longer valid. */
export class Unauthorized extends Error {}

export class Unavailable extends Error {
	/** @param {number} [retryAfter] seconds that the service asks to wait */
	constructor(message, retryAfter = 0) {
		super(message);
		this.retryAfter = retryAfter;
	}
}

/** The token that requests carry. */
export const token = {
	get: () => session.get(TOKEN) ?? device.get(TOKEN),
	/** Returns false if the text cannot be a token. */
	set(value, isRemembered) {
		if (!/^[\x21-\x7e]+$/.test(value)) return false;
		token.forget();
		(isRemembered ? device : session).set(TOKEN, value);
		return true;
	},
	forget() {
		session.remove(TOKEN);
		device.remove(TOKEN);
	},
};

/** A page of the list, with the cursor of the `next` one; null if its ETag is still `etag`. */
export async function listTodos(query, { etag = "", signal } = {}) {
	const headers = etag && { "If-None-Match": etag };
	const response = await send("GET", `?${new URLSearchParams(query)}`, { headers, signal });
	if (response.status === 304) return null;
	const link = /<([^>]*)>; rel="next"/.exec(response.headers.get("Link"));
	return {
		todos: response.body,
		// Without its host, which a proxy may know by another name.
		next: link && new URL(link[1], TODOS).searchParams.get("cursor"),
		total: Number(response.headers.get("X-Total-Count")),
		etag: strongTag(response.headers),
	};
}

/** The deleted todos that can be restored, latest deletion first. */
export async function listDeleted(query, { signal } = {}) {
	const { body: todos } = await send("GET", `/deleted?${new URLSearchParams(query)}`, { signal });
	return { todos, next: null, total: todos.length, etag: "" };
}

/** How many todos match. */
export async function countTodos(query) {
	return (await listTodos({ ...query, limit: "1", total: "true" })).total;
}

/** Returns the current todo with its ETag, or null if it does not exist. */
export async function getTodo(id) {
	try {
		return await version(send("GET", `/${id}`));
	} catch (error) {
		if (error.status === 404) return null;
		throw error;
	}
}

/** @param {Members} members */
export function createTodo(members, key) {
	return version(send("POST", "", { body: members, headers: { "Idempotency-Key": key } }));
}

/** Changes a todo if its current ETag is `etag`. @param {Members} members */
export function changeTodo(id, members, etag) {
	return version(send("PATCH", `/${id}`, { body: members, headers: { "If-Match": etag } }));
}

export async function deleteTodo(id, etag) {
	await send("DELETE", `/${id}`, { headers: { "If-Match": etag } });
}

/** Restores a deleted todo. Returns null if the service no longer has the todo. */
export async function restoreTodo(id) {
	try {
		return await version(send("POST", `/${id}/restore`));
	} catch (error) {
		if (error.status === 404 || error.status === 405) return null;
		throw error;
	}
}

/** Runs up to 1,000 operations, all or none. */
export async function runBatch(operations, key) {
	const request = { body: { operations }, headers: { "Idempotency-Key": key } };
	return (await send("POST", "/batch", request)).body.results;
}

/** Returns whether the token may write. A change of an absent todo changes nothing, and gets 403 if it may not. */
export async function mayWrite() {
	try {
		await send("PATCH", "/0", { body: {} });
	} catch (error) {
		return error.status !== 403;
	}
	return true;
}

/** Returns a new Idempotency-Key. (`crypto.randomUUID` is missing on plain HTTP.) */
export function newKey() {
	return crypto.getRandomValues(new Uint32Array(4)).join("-");
}

async function version(sent) {
	const { body, headers } = await sent;
	return { todo: body, etag: strongTag(headers) };
}

/**
 * Returns the tag of the service. Proxies that compress weaken the tag (nginx, Cloudflare) or add the encoding
 * (Apache, Caddy), but `If-Match` requires the strong tag (RFC 9110, section 13.1.1).
 */
function strongTag(headers) {
	const tag = headers.get("ETag")?.replace(/^W\//, "");
	return tag?.replace(/[-;:]+(?:gzip|br|zstd|deflate)"$/, '"');
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
		const { status } = response;
		if (status < 300 || status === 304) return response;
		const { detail } = response.body;
		if (status === 401) {
			// Another request or window may have received a new token meanwhile.
			if (token.get() === known) throw new Unauthorized(detail);
		} else if (status >= 500 || PASSING.includes(status)) {
			throw new Unavailable(detail, Number(response.headers.get("Retry-After")) || 0);
		} else throw new Problem(status, response.body);
	}
}

/** Sends a request. A body other than JSON comes from a proxy that could not reach the service. */
async function reach(path, request) {
	const signals = [request.signal, AbortSignal.timeout(TIMEOUT)].filter(Boolean);
	try {
		const response = await fetch(TODOS + path, { ...request, signal: AbortSignal.any(signals) });
		const { status, headers } = response;
		return { status, headers, body: status === 304 ? null : await response.json() };
	} catch {
		throw new Unavailable("");
	}
}
