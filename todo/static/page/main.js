/** The page: what is shown, and what happens where. */

import * as api from "./api.js";
import { TodoForm } from "./form.js";
import { List } from "./list.js";
import { creation, draft, membersOf, Outbox } from "./outbox.js";
import { isOverdue, number, quoted, text, wallTime, zone, zonesDiffer } from "./words.js";

const PAGE = 1000; // todos; the service gives no more at a time
const TYPING = 150; // milliseconds without a key, before a search
const PAUSE = 3000; // milliseconds, before a read is tried again
const MINUTE = 60_000;

/** What the service is asked for in each view, and which todos that is. */
const VIEWS = {
	all: { query: {}, has: () => true },
	active: { query: { completed: "false" }, has: (todo) => !todo.completed },
	completed: { query: { completed: "true" }, has: (todo) => todo.completed },
	overdue: { query: { overdue: "true" }, has: isOverdue },
	week: {
		query: { completed: "false", window: "7" },
		has: (todo) => !todo.completed && todo.deadline_at !== null && todo.deadline_at <= wallTime(7),
	},
};

const $ = (selector) => document.querySelector(selector);
const links = document.querySelectorAll("#views a");
const searchField = $("[name=q]");
const sortField = $("[name=sort]");

const counts = Object.fromEntries(Object.keys(VIEWS).map((name) => [name, 0]));
const state = { view: "all", q: "", sort: "", etag: "", next: null };

const list = new List($("#list"), {
	toggle(todo, completed) {
		change(todo, { completed });
		speak(completed ? "checked" : "unchecked", todo.title);
	},
	change(todo, members) {
		change(todo, members);
		speak("changed", members.title ?? todo.title);
	},
	remove,
	unsaved: ({ id }) => outbox.holds(id),
});
const outbox = new Outbox({ confirmed, rejected, decide, state: showState });
const addForm = new TodoForm($("#add"), add);

// Changes: each shows at once.

function add(members) {
	if (!members.title) return;
	create(members, state.sort === "id" && !state.next ? list.todos.length : 0);
	addForm.form.reset();
	addForm.check();
	addForm.fields[0].focus();
	speak("added", members.title);
}

function create(members, index) {
	const key = api.newKey();
	const created = { kind: "create", id: `new-${key}`, key, members };
	outbox.add(created);
	become(null, draft(created), index);
}

function change(todo, members) {
	if (isRefused(todo)) {
		become(todo, null);
		return create({ ...membersOf(todo), ...members }, 0);
	}
	outbox.add({ kind: "change", id: todo.id, base: todo, members });
	become(todo, { ...todo, ...members });
}

/** Whether the service wanted no such todo: it is only here. */
function isRefused({ id }) {
	return typeof id === "string" && !outbox.holds(id);
}

function remove(todo) {
	if (!isRefused(todo)) outbox.add({ kind: "remove", id: todo.id, base: todo });
	const index = become(todo, null);
	if (!list.todos.length) addForm.fields[0].focus();
	offer(text("removed", { title: quoted(todo.title) }), () => {
		create(membersOf(todo), index);
		speak("restored", todo.title);
	});
}

/** Changes (or, with null, removes) all that match the view and the search, loaded or not. */
function sweep(members, completed) {
	const { query, has } = VIEWS[state.view];
	const swept = (todo) => (todo.completed === completed ? members && { ...todo, ...members } : todo);
	list.show(list.todos.map(swept).filter((todo) => todo && has(todo)));
	if (!isPartial()) {
		if (!members) counts.all = counts.active;
		else counts.active = completed ? counts.all : 0;
		counts.completed = counts.all - counts.active;
	}
	outbox.add({ kind: "sweep", query: { ...query, ...(state.q && { q: state.q }), completed }, members });
	showAround();
}

/** Shows what becomes of a todo; null is one that is not there. Tells where it stood. */
function become(before, after, index = 0) {
	for (const [name, { has }] of Object.entries(VIEWS)) {
		counts[name] += Number(after && has(after)) - Number(before && has(before));
	}
	const place = before && list.indexOf(before.id);
	if (!after || !VIEWS[state.view].has(after)) list.remove(before?.id);
	else if (before) list.update(before.id, after);
	else list.insert(after, index);
	showAround();
	return place;
}

// What the outbox says.

function confirmed(change, todo) {
	if (change.kind === "sweep") swept(change);
	if (change.id === undefined) return load();
	const shown = todo && outbox.overlay(todo);
	if (!shown || !VIEWS[state.view].has(shown)) list.remove(change.id);
	else if (list.has(change.id)) list.update(change.id, shown);
	else if (change.kind !== "create") list.insert(shown);
}

function rejected(change, problem) {
	if (change.kind === "create" && addForm.isEmpty) {
		list.remove(change.id);
		addForm.fill(change.members);
		addForm.refuse(problem);
	} else if (change.kind === "create" || change.kind === "change") {
		const seen = change.base ?? draft(change);
		if (list.has(seen.id)) list.update(seen.id, seen);
		else list.insert(seen);
		list.edit(seen.id, change.members, problem);
	} else {
		offer(text("rejected", { reason: problem.message }));
		load();
	}
}

function swept({ swept: todos, members }) {
	if (!todos.length) return;
	const done = { true: "sweptComplete", false: "sweptActive" }[members?.completed] ?? "sweptRemove";
	const back = ({ id, completed }) => ({ op: "update", id, if_match: "*", todo: { completed } });
	offer(text(done, { n: todos.length }), () => {
		const operations = todos.map(members ? back : creation);
		for (let i = 0; i < operations.length; i += PAGE) {
			outbox.add({ kind: "batch", operations: operations.slice(i, i + PAGE) });
		}
	});
}

function decide(change, theirs) {
	return import("./conflict.js").then(
		({ ask }) => ask(change, theirs),
		() => offer(text("updated")),
	);
}

function showState(now, error) {
	if (now !== "sending") document.body.classList.toggle("waiting", now !== "idle");
	list.refresh();
	const run = () => outbox.run();
	if (now === "undecided") notify(text("undecided"), "decide", run);
	else if (now === "waiting") {
		const reason = error.message || text("unreachable");
		notify(`${reason} ${text("kept", { n: outbox.size })}`, "tryNow", run);
	} else if (now === "idle") {
		if ($("#banner").textContent) speak("backAgain");
		notify("");
		recount();
	}
}

// What is read.

/** Takes the view, the search and the order from the address: `#/active?q=milk&sort=title`. */
function route() {
	const [path, query] = location.hash.slice(2).split("?");
	const asked = new URLSearchParams(query);
	state.view = Object.hasOwn(VIEWS, path) ? path : "all";
	state.q = asked.get("q") ?? "";
	sortField.value = asked.get("sort") ?? "";
	state.sort = sortField.value;
	if (searchField.value.trim() !== state.q) searchField.value = state.q;
	for (const link of links) {
		link.hash = address(link.dataset.view, state);
		link.ariaCurrent = link.dataset.view === state.view ? "page" : null;
	}
	document.title = `${$("[aria-current]").firstChild.textContent.trim()} · ${$("h1").textContent}`;
	load();
}

function address(view, { q, sort }) {
	const query = new URLSearchParams(Object.entries({ q, sort }).filter(([, value]) => value));
	return `/${view === "all" ? "" : view}${query.size ? `?${query}` : ""}`;
}

/** Whether more is left out than what is, or is not, completed. */
function isPartial() {
	return state.q !== "" || state.view === "overdue" || state.view === "week";
}

let loading = new AbortController();

/** Reads a page of the list: the first, where it is not the one with `etag` that is shown, or the next. */
async function load({ etag = "", cursor = null } = {}) {
	loading.abort();
	const { signal } = (loading = new AbortController());
	const before = outbox.answered;
	const query = { ...VIEWS[state.view].query, sort: state.sort || "-id", limit: PAGE };
	if (state.q) query.q = state.q;
	if (cursor) query.cursor = cursor;
	else query.total = true;
	try {
		const page = await api.list(query, { etag, signal });
		if (signal.aborted) return;
		if (!cursor && outbox.answered !== before) return load();
		if (page) showPage(page, cursor);
		if (!outbox.size) notify("");
	} catch (error) {
		if (signal.aborted) return;
		const again = () => signal.aborted || load({ etag, cursor });
		setTimeout(again, error.retryAfter * 1000 || PAUSE);
		notify(error.message || text("unreachable"), "tryNow", again);
	}
}

function showPage({ todos, next, total, etag }, cursor) {
	state.next = next;
	const shown = outbox.foresee(todos).filter((todo) => VIEWS[state.view].has(todo));
	if (cursor) list.append(shown);
	else {
		state.etag = etag;
		list.total = total;
		list.show(shown);
		if (state.q) speak("found", "", total);
	}
	recount();
}

/** Counts the todos of each view: here where all are at hand, else there. */
async function recount() {
	if (!state.etag) return;
	const before = outbox.answered;
	const views = Object.entries(VIEWS);
	let found = views.map(([, { has }]) => list.todos.filter(has).length);
	if (state.next || state.view !== "all" || state.q) {
		found = await Promise.all(views.map(([, { query }]) => api.count(query))).catch(() => null);
		// What is changed meanwhile is counted once it is confirmed.
		if (!found || outbox.size || outbox.answered !== before) return;
	}
	views.forEach(([name], i) => (counts[name] = found[i]));
	showAround();
}

/** Shows what stands around the list. */
function showAround() {
	const { q, view } = state;
	const todos = isPartial() ? list.todos : null;
	const active = todos ? todos.filter((todo) => !todo.completed).length : counts.active;
	const completed = todos ? todos.length - active : counts.completed;
	for (const link of links) link.querySelector(".count").textContent = number(counts[link.dataset.view]);
	$("#controls").hidden = !counts.all && !q && view === "all";
	$("#bulk").hidden = !(active || completed);
	$("#complete-all").checked = !active;
	$("#clear").hidden = !completed;
	const strong = make("strong", { textContent: number(counts.active) });
	const [start, end] = text("left", { n: counts.active }).split(strong.textContent);
	$("#left").replaceChildren(start, strong, end);
	$("#empty").hidden = list.todos.length > 0;
	$("#empty p").textContent = text(q ? "noneFound" : `none_${view}`, { query: quoted(q) });
	$("#more").hidden = !state.next;
}

// What is said.

/** Tells those who listen. */
function speak(key, title, n) {
	$("#spoken").textContent = text(key, { title: quoted(title), n });
}

/** Says what is wrong, and what can be done; an empty message takes it back. */
function notify(message, key, act) {
	const banner = $("#banner");
	if (message !== banner.firstChild?.textContent) say(banner, message, message && button(text(key), act));
}

let undo = null;

/** Says what was done, and how to undo it, until something else is done. */
function offer(message, revert) {
	const close = () => {
		undo = null;
		if ($("#toast").contains(document.activeElement)) $("#list").focus();
		say($("#toast"), "");
	};
	undo = revert && (() => {
		close();
		revert();
	});
	const dismiss = button("×", close);
	dismiss.ariaLabel = text("dismiss");
	say($("#toast"), message, undo && button(text("undo"), undo), dismiss);
}

function say(element, message, ...buttons) {
	const sentence = make("p", { textContent: message });
	element.replaceChildren(...(message ? [sentence, ...buttons.filter(Boolean)] : []));
}

function button(label, act) {
	return make("button", { type: "button", textContent: label, onclick: act });
}

function make(name, properties) {
	return Object.assign(document.createElement(name), properties);
}

// What starts it all.

$("#complete-all").onchange = ({ target: { checked } }) => sweep({ completed: checked }, !checked);
$("#clear").onclick = () => {
	sweep(null, true);
	addForm.fields[0].focus();
};

let typing = 0;
$("#find").oninput = ({ target }) => {
	clearTimeout(typing);
	typing = setTimeout(search, target === searchField ? TYPING : 0);
};

function search() {
	const asked = { q: searchField.value.trim(), sort: sortField.value };
	if (asked.q === state.q && asked.sort === state.sort) return;
	history.replaceState(null, "", `#${address(state.view, asked)}`);
	route();
}

$(".skip").onclick = () => $("#list").focus();

document.addEventListener("keydown", (event) => {
	const types = event.target.matches("textarea, input:not([type=checkbox])");
	if (undo && event.key === "z" && (event.ctrlKey || event.metaKey) && !types) undo();
});

new IntersectionObserver(
	([{ isIntersecting }]) => isIntersecting && state.next && load({ cursor: state.next }),
	{ rootMargin: "2000px" },
).observe($("#more"));

addEventListener("hashchange", route);
addEventListener("online", () => outbox.run());
addEventListener("beforeunload", (event) => outbox.size && event.preventDefault());
document.addEventListener("visibilitychange", () => {
	// A list that was scrolled or is edited stays as it is.
	if (!document.hidden && list.todos.length <= PAGE && !list.isEditing) load({ etag: state.etag });
});
setInterval(() => {
	if (document.hidden) return;
	list.refresh();
	recount();
}, MINUTE);

api.token.ask = async (refused) => {
	const token = await (await import("./token.js")).ask(refused);
	$("#forget").hidden = false;
	return token;
};
$("#forget").hidden = !api.token.get();
$("#forget").onclick = () => {
	api.token.forget();
	$("#forget").hidden = true;
	list.show([]);
	load();
};

$("#zone").textContent = zonesDiffer ? text("zone", { zone }) : "";
$("#app").hidden = false;
addForm.fields[0].focus();
route();
if (outbox.size) outbox.run();
