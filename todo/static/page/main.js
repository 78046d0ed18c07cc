/** The page: its state, its views and its events. */

import { countTodos, listDeleted, listTodos, mayWrite, newKey, token, Unauthorized } from "./api.js";
import { askForToken, askForVersion, showKeys, subscribe } from "./dialogs.js";
import { isComposing, TodoForm } from "./form.js";
import { List } from "./list.js";
import { draft, membersOf, Outbox } from "./outbox.js";
import { device, session } from "./store.js";
import { isOverdue, makeGroupOf, number, quoted, text, wallTime, zonesDiffer } from "./words.js";

const PAGE = 1000; // todos, the maximum of the service
const AHEAD = 2000; // pixels below the screen, in which more is loaded
const TYPING = 150; // milliseconds without a key before a search
const POLL = 5000; // milliseconds, for each page of the list that is shown
const READ_PAUSE = 3000; // milliseconds before a read is retried; doubled with each attempt
const LONGEST_READ_PAUSE = 60_000;
const TICK = 30_000; // milliseconds between updates of the shown times
const TOAST = 10_000; // milliseconds
const MOST_UNDOS = 50;
const MANY = 150; // todos
const DRAFT = "todo.draft";
const FOLDED = "todo.folded";
const LINKED_TOKEN = /^#token=(.+)$/;

/** The query and the todos of each view. */
const VIEWS = {
	all: { query: {}, has: () => true },
	active: { query: { completed: "false" }, has: (todo) => !todo.completed },
	overdue: { query: { overdue: "true" }, has: isOverdue },
	week: {
		query: { completed: "false", window: "7" },
		has: (todo) => !todo.completed && todo.deadline_at !== null && todo.deadline_at <= wallTime(7),
	},
	completed: { query: { completed: "true" }, has: (todo) => todo.completed, sort: "-updated_at" },
};
const DELETED = { query: {}, has: (todo) => todo.deleted_at, sort: "none" };

const $ = (selector) => document.querySelector(selector);
const links = document.querySelectorAll("#views a");
const searchField = $("[name=q]");
const sortField = $("[name=sort]");

const state = { view: "all", q: "", sort: "" };
/** The list as read, with the changes that were confirmed since then, in order. @type {Todo[]} */
let todos = [];
/** Pages as they were read. @type {{cursor: string | null, etag: string, todos: Todo[], next: string | null, total: number}[]} */
let pages = [];
/** All todos of any view so far, shown until the service responds. */
const known = new Map();
/** New todos that the service rejected. @type {Todo[]} */
let refused = [];
/** The ids of drafts, and their ids in the service. */
const ids = new Map();
/** The number of todos of each view, according to the service. */
let counted = null;
let readError = null;
let outboxState = "idle";
let outboxError = null;
let isReadOnly = false;
let isFolded = device.get(FOLDED) ?? true;

const view = () => VIEWS[state.view] ?? DELETED;
const isListed = (todo) => view().has(todo) && matches(todo, state.q);
const isComplete = () => pages.length > 0 && !pages.at(-1).next;

const list = new List($("#list"), {
	toggle,
	change(todo, members) {
		change(todo, members);
		announce("changed", members.title ?? todo.title);
		const before = Object.fromEntries(Object.keys(members).map((name) => [name, todo[name]]));
		remember(() => {
			change({ ...todo, ...members }, before);
			announce("changed", todo.title);
		});
	},
	remove,
	restore,
	menu: showRowMenu,
	fold() {
		isFolded = !isFolded;
		device.set(FOLDED, isFolded);
		render();
		loadMoreIfSeen();
	},
	typed: saveDraft,
	closed() {
		saveDraft();
		render();
	},
	unsaved: ({ id }) => outbox.holds(id),
	isReadOnly: () => isReadOnly,
});
const outbox = new Outbox({ confirmed, rejected, decide: askForVersion, matches: matchesBulk, state: showOutbox });
const addForm = new TodoForm($("#add"), add, say);

// Changes: each one is shown immediately.

function add(members) {
	const todo = create(members);
	addForm.form.reset();
	addForm.values = addForm.values;
	saveDraft();
	addForm.fields[0].focus();
	announce("added", members.title);
	if (isListed(todo)) return;
	const show = () => {
		hideToast();
		location.hash = address("all", { q: "", sort: state.sort });
	};
	showToast(about("added", members.title), button(text("show"), show));
}

let drafts = Date.now();

function create(members) {
	const key = newKey();
	// Newer than all others, in the order of their ids.
	const change = { kind: "create", id: `new-${++drafts}-${key}`, key, members };
	applyChange(change);
	return draft(change);
}

/** Shows a change, and adds it to the outbox. */
function applyChange(change) {
	outbox.add(change);
	render();
	return change;
}

function change(todo, members) {
	const id = idOf(todo);
	if (!isRefused(id)) return applyChange({ kind: "change", id, base: { ...todo, id }, members });
	refused = refused.filter((other) => other.id !== id);
	create({ ...membersOf(todo), ...members });
	// An edit of an unsaved todo needs no undo.
	return null;
}

/** Whether the service rejected a new todo, so that it exists only on the page. */
function isRefused(id) {
	return refused.some((todo) => todo.id === id);
}

/** Returns the current id of a todo. */
function idOf({ id }) {
	return ids.get(id) ?? id;
}

function toggle(todo, completed) {
	change(todo, { completed });
	announce(completed ? "checked" : "unchecked", todo.title);
	const revert = () => {
		change({ ...todo, completed }, { completed: !completed });
		announce(completed ? "unchecked" : "checked", todo.title);
	};
	if (completed) showUndo(about("checked", todo.title), revert);
	else remember(revert);
}

function remove(todo) {
	const id = idOf(todo);
	const wasRefused = isRefused(id);
	refused = refused.filter((other) => other.id !== id);
	const removal = wasRefused ? null : applyChange({ kind: "remove", id, base: { ...todo, id } });
	if (wasRefused) render();
	if (!$("#list .row")) addForm.fields[0].focus();
	showUndo(about("removed", todo.title), () => {
		if (wasRefused) create(membersOf(todo));
		else if (!outbox.cancel(removal)) {
			applyChange({ kind: "restore", id: idOf(todo), todo: { ...todo, id: idOf(todo) } });
		}
		render();
		announce("restored", todo.title);
	});
}

/** Restores a todo of the view of deleted ones. */
function restore({ deleted_at, ...todo }) {
	applyChange({ kind: "restore", id: todo.id, todo });
	announce("restored", todo.title);
}

/** Changes (or, with null, deletes) all todos that match the view and the search, loaded or not. */
function bulkUpdate(members, completed) {
	const { view: name, q } = state;
	const query = { ...view().query, ...(q && { q }), completed };
	applyChange({ kind: "bulk", view: name, q, query, members });
}

function matchesBulk({ view: name, q, query }, todo) {
	return todo.completed === query.completed && VIEWS[name].has(todo) && matches(todo, q);
}

/** Whether a search finds a todo. Only for unsaved changes, because the service searches its own todos. */
function matches({ title, description }, q) {
	return [title, description ?? ""].some((words) => words.toLowerCase().includes(q.toLowerCase()));
}

// Events of the outbox.

function confirmed(change, todo) {
	if (!("id" in change)) {
		if (change.kind === "bulk") offerToRevert(change);
		return load();
	}
	if (todo && todo.id !== change.id) {
		ids.set(change.id, todo.id);
		list.rename(change.id, todo);
	}
	keep(todo ?? { id: change.id }, todo);
	render();
}

/** Replaces a todo by the version of the service, or removes it if `todo` is null. */
function keep({ id }, todo) {
	const before = todos.find((other) => other.id === id);
	known.delete(id);
	todos = todos.filter((other) => other.id !== id);
	if (todo) known.set(id, todo);
	if (todo && isListed(todo)) insert(todos, todo);
	if (!counted) return;
	for (const [name, { has }] of Object.entries(VIEWS)) {
		counted[name] += Number(Boolean(todo && has(todo))) - Number(Boolean(before && has(before)));
	}
}

function rejected(change, problem) {
	const isForbidden = problem.status === 403;
	const isEdit = change.kind === "change";
	if (isForbidden) setReadOnly(true);
	if (isEdit) keep(change.base, change.base);
	if (change.kind === "create" && !addForm.isEmpty) refused.push(draft(change));
	else if (change.kind === "create") {
		addForm.fill(draft(change));
		addForm.refuse(problem);
	}
	render();
	if (isForbidden || !["create", "change"].includes(change.kind)) {
		showToast(text("rejected", { reason: problem.message }));
		load();
	} else list.edit(change.id, { members: change.members, problem });
}

/** Offers to undo an executed bulk change. */
function offerToRevert({ done, members }) {
	if (!done.length) return;
	const back = ({ id, completed }) => ({ op: "update", id, if_match: "*", todo: { completed } });
	showUndo(text(members ? "allCompleted" : "allRemoved", { n: done.length }), () => {
		if (!members) return applyChange({ kind: "restoreAll", todos: done });
		const operations = done.map(back);
		while (operations.length) applyChange({ kind: "batch", operations: operations.splice(0, PAGE) });
	});
}

function showOutbox(now, error) {
	if (now !== "sending") {
		if (now === "idle" && outboxState !== "idle" && !readError) announce("backAgain");
		outboxState = now;
		outboxError = error;
		document.body.classList.toggle("waiting", now !== "idle");
	}
	render();
	if (now === "idle" && isStale) load();
}

async function signIn() {
	if (!(await askForToken())) return;
	$("#forget").hidden = false;
	setReadOnly(false);
	readError = null;
	outbox.run();
	await load();
	if (!readError) checkAccess();
}

async function checkAccess() {
	setReadOnly(!(await mayWrite().catch(() => true)));
}

function setReadOnly(value) {
	isReadOnly = value;
	document.body.classList.toggle("read-only", value);
	if (value) list.editing?.close();
	render();
}

// Reading.

/** Parses the view, the search and the order of the URL: `#/active?q=milk&sort=title`. */
function route() {
	const linked = LINKED_TOKEN.exec(location.hash);
	if (linked) {
		token.set(linked[1], true);
		// The address must not stay in the history.
		history.replaceState(null, "", "#/");
	}
	const [path, query] = location.hash.slice(2).split("?");
	const asked = new URLSearchParams(query);
	state.view = Object.hasOwn(VIEWS, path) || (path === "deleted" && $("#deleted")) ? path : "all";
	state.q = asked.get("q") ?? "";
	sortField.value = asked.get("sort") ?? "";
	if (!sortField.value) sortField.value = "";
	state.sort = sortField.value;
	if (searchField.value.trim() !== state.q) searchField.value = state.q;
	if (state.q) document.body.classList.add("searching");
	for (const link of links) {
		link.hash = address(link.dataset.view, state);
		link.ariaCurrent = link.dataset.view === state.view ? "page" : null;
	}
	pages = [];
	// Until the service responds, show the todos of other views.
	todos = state.view === "deleted" ? [] : [...known.values()].filter(isListed).sort(compare);
	load();
	render();
}

function address(name, { q, sort }) {
	const query = new URLSearchParams(Object.entries({ q, sort }).filter(([, value]) => value));
	return `/${name === "all" ? "" : name}${query.size ? `?${query}` : ""}`;
}

let reading = new AbortController();
let pause = READ_PAUSE;
let timer = 0;
/** Whether a change was confirmed while the list was read. */
let isStale = false;

/** Reads the shown pages of the list, or one more. Unchanged pages have no body (304). */
async function load({ more = false } = {}) {
	reading.abort();
	clearTimeout(timer);
	const { signal } = (reading = new AbortController());
	const before = outbox.answered;
	try {
		const read = await readPages(Math.max(1, pages.length + Number(more)), signal);
		if (signal.aborted) return;
		if (readError && outboxState === "idle") announce("backAgain");
		readError = null;
		pause = READ_PAUSE;
		// A list that is read while changes are sent is out of date, and may contain a new todo twice.
		isStale = outbox.answered !== before || outbox.isCreating;
		if (isStale && !outbox.isCreating) return load({ more });
		if (!document.hidden) timer = setTimeout(load, POLL * read.length);
		if (!isStale && read.some((page, i) => page !== pages[i])) return showPages(read);
	} catch (error) {
		if (signal.aborted) return;
		readError = error;
		if (!(error instanceof Unauthorized)) {
			if (!document.hidden) timer = setTimeout(load, Math.max(pause, (error.retryAfter ?? 0) * 1000), { more });
			pause = Math.min(pause * 2, LONGEST_READ_PAUSE);
		}
	}
	render();
}

async function readPages(wanted, signal) {
	if (state.view === "deleted") return [await listDeleted({ limit: PAGE }, { signal })];
	const query = { ...view().query, sort: order(), limit: PAGE };
	if (state.q) query.q = state.q;
	const read = [];
	for (let cursor = null; read.length < wanted && (cursor || !read.length); cursor = read.at(-1).next) {
		const page = pages[read.length];
		const etag = page?.cursor === cursor ? page.etag : "";
		const asked = cursor ? { ...query, cursor } : { ...query, total: true };
		const fresh = await listTodos(asked, { etag, signal });
		read.push(fresh ? { ...fresh, cursor } : page);
	}
	return read;
}

/** The sort order of the service. Completed todos are last. */
function order() {
	const keys = view().sort ?? (state.sort || "deadline_at,-id");
	return state.view === "all" ? `completed,${keys}` : keys;
}

function showPages(read) {
	const isFirst = !pages.length;
	pages = read;
	todos = read.flatMap((page) => page.todos);
	if (state.view !== "deleted") {
		// Another client changed or deleted the todos that are missing here.
		if (isComplete()) for (const todo of [...known.values()].filter(isListed)) known.delete(todo.id);
		for (const todo of todos) known.set(todo.id, todo);
	}
	if (isFirst && state.q) say(text("found", { n: pages[0].total }));
	render();
	recount();
	loadMoreIfSeen();
	if (isFirst) reopenEdit();
}

/** Requests the number of todos of each view, unless all todos are loaded. */
async function recount() {
	if (isAllHere() || !pages.length) return;
	const before = outbox.answered;
	const found = await Promise.all(Object.values(VIEWS).map(({ query }) => countTodos(query))).catch(() => null);
	if (!found) return;
	// Changes that are confirmed in the meantime adjust the last counts, if there are any.
	if (outbox.answered !== before) return counted ? null : recount();
	counted = Object.fromEntries(Object.keys(VIEWS).map((name, i) => [name, found[i]]));
	render();
}

function isAllHere() {
	return state.view === "all" && !state.q && isComplete();
}

// Rendering.

/** Compares two todos in the sort order. */
function compare(a, b) {
	const age = ({ id }) => (typeof id === "string" ? Number(id.split("-")[1]) : id);
	if (state.view === "completed") return (b.updated_at ?? "~").localeCompare(a.updated_at ?? "~") || age(b) - age(a);
	if (state.view === "all" && a.completed !== b.completed) return Number(a.completed) - Number(b.completed);
	if (state.sort === "id") return age(a) - age(b);
	if (state.sort === "title" && a.title !== b.title) return a.title < b.title ? -1 : 1;
	if (state.sort === "" && a.deadline_at !== b.deadline_at) {
		return (a.deadline_at ?? "~") < (b.deadline_at ?? "~") ? -1 : 1;
	}
	return age(b) - age(a);
}

/** Inserts a todo at its position in the order of the service. */
function insert(others, todo) {
	const place = others.findIndex((other) => compare(todo, other) < 0);
	others.splice(place < 0 ? others.length : place, 0, todo);
}

/** Returns the todos of the view, with the pending changes. */
function withPending() {
	const result = [];
	const moved = [];
	for (const todo of todos) {
		const pending = outbox.withPending(todo);
		if (pending && view().has(pending)) (pending === todo ? result : moved).push(pending);
	}
	if (state.view === "deleted") return result;
	const here = new Set(todos.map(({ id }) => id));
	// What other views have shown may belong to this one once it is changed.
	const elsewhere = [...known.values()].filter(({ id }) => outbox.holds(id));
	for (const todo of [...outbox.additions, ...refused, ...elsewhere]) {
		const pending = !here.has(todo.id) && outbox.withPending(todo);
		if (pending && isListed(pending)) moved.push(pending);
	}
	// Inserting keeps the order of the service. Many todos are sorted faster.
	if (moved.length > MANY) return [...result, ...moved].sort(compare);
	for (const todo of moved) insert(result, todo);
	return result;
}

/** Renders the current state. */
function render() {
	const shown = withPending();
	const counts = isAllHere() ? countOf(shown) : counted;
	list.show(groupsOf(shown, counts));
	showAround(shown, counts);
	showBanner();
}

function countOf(all) {
	return Object.fromEntries(Object.entries(VIEWS).map(([name, { has }]) => [name, all.filter(has).length]));
}

/** Returns the groups of todos to show. A total of -1 is unknown. */
function groupsOf(shown, counts) {
	const { view: name, sort, q } = state;
	const hasDays = sort === "" && ["all", "active", "week"].includes(name);
	const groupOf = makeGroupOf();
	const groups = new Map();
	const groupFor = (key) => {
		if (!groups.has(key)) groups.set(key, { key, label: text(key), todos: [] });
		return groups.get(key);
	};
	for (const todo of shown) {
		const isDone = name === "all" && todo.completed;
		groupFor(name === "deleted" ? name : hasDays || isDone ? groupOf(todo) : "undated").todos.push(todo);
	}
	if (!isComplete() && pages.length && groups.size) [...groups.values()].at(-1).total = -1;
	if (name === "all" && !q && counts?.completed) groupFor("completed").total = counts.completed;
	if (name === "all" && groups.has("completed")) groupFor("completed").isFolded = isFolded && !q;
	// A single group needs no heading.
	const isFlat = [...groups.keys()].every((key) => key === "undated" || key === "completed");
	if (isFlat && groups.has("undated")) groupFor("undated").label = "";
	return [...groups.values()];
}

/** Renders the parts around the list. */
function showAround(shown, counts) {
	const { q, view: name } = state;
	for (const link of links) link.querySelector(".count").textContent = counts ? number(counts[link.dataset.view]) : "";
	const isPartial = q || name === "overdue" || name === "week" || !counts;
	const open = isPartial ? shown.filter((todo) => !todo.completed).length : counts.active;
	const done = isPartial ? shown.length - open : counts.completed;
	const hasMore = pages.length > 0 && !isComplete();
	const isEmpty = !shown.length && !hasMore && pages.length > 0;
	const isNothing = isEmpty && name === "all" && !q;
	$("#views").hidden = isNothing || (!pages.length && !todos.length);
	const canBulk = name !== "deleted" && pages.length > 0;
	offerBulk($("#complete-all"), "completeAll", canBulk && name !== "completed" ? open : 0, hasMore && isPartial);
	offerBulk($("#clear"), "clearCompleted", canBulk && (name === "all" || name === "completed") ? done : 0, hasMore && isPartial);
	$("#empty").hidden = !isEmpty && !(isAllHere() && !open && isFolded && !q);
	$("#empty svg").toggleAttribute("hidden", Boolean(q));
	$("#empty p").textContent = isNothing || !isEmpty
		? text(isNothing ? "none_all" : "none_active")
		: text(q ? "noneFound" : `none_${name}`, { query: quoted(q) });
	// Folded groups need no loading message.
	$("#more").hidden = !hasMore || (name === "all" && isFolded && !q && todos.at(-1)?.completed);
	const title = $("h1").textContent;
	const current = $("#views [aria-current]")?.firstChild.textContent.trim() ?? text("deleted");
	document.title = `${counts?.active ? `(${number(counts.active)}) ` : ""}${name === "all" ? "" : `${current} · `}${title}`;
}

function offerBulk(item, key, n, isMore) {
	item.hidden = !n;
	item.textContent = text(isMore ? `${key}Found` : key, { n });
}

// Messages.

/** A text about a todo. */
function about(key, title) {
	return text(key, { title: quoted(title) });
}

/** Announces a text to screen readers. */
function announce(key, title) {
	say(about(key, title));
}

function say(sentence) {
	$("#spoken").textContent = sentence;
}

/** Shows the current problem, and the possible actions. */
function showBanner() {
	const kept = outbox.size ? text("kept", { n: outbox.size }) : "";
	const unauthorized = [outboxState === "signedOut" && outboxError, readError].find((error) => error instanceof Unauthorized);
	let message = "";
	let act = null;
	if (unauthorized) {
		message = `${text(token.get() ? "tokenRefused" : "tokenNeeded")} ${kept}`;
		act = button(text("signIn"), signIn);
	} else if (outboxState === "undecided") {
		message = text("undecided");
		act = button(text("decide"), () => outbox.run());
	} else if (outboxState === "waiting" || readError) {
		const error = outboxState === "waiting" ? outboxError : readError;
		message = `${error.message || text("unreachable")} ${kept}`;
		act = button(text("tryNow"), tryNow);
	}
	const banner = $("#banner");
	banner.hidden = !message;
	if (banner.firstChild?.textContent === message.trim()) return;
	banner.replaceChildren(...(message ? [make("p", { textContent: message.trim() }), act] : []));
}

function tryNow() {
	outbox.run();
	load();
}

/** Functions that undo a change, the latest last. @type {(() => void)[]} */
const undos = [];
let toastTimer = 0;

function remember(revert) {
	undos.push(revert);
	if (undos.length > MOST_UNDOS) undos.shift();
}

function undo() {
	hideToast();
	undos.pop()?.();
}

/** Shows a completed change with an undo button. */
function showUndo(message, revert) {
	remember(revert);
	showToast(message, button(text("undo"), undo));
}

/** Shows a message for some time, or until the next message. */
function showToast(message, act) {
	const dismiss = button("×", hideToast);
	dismiss.ariaLabel = text("dismiss");
	$("#toast").replaceChildren(...[make("p", { textContent: message }), act, dismiss].filter(Boolean));
	keepToast();
}

function keepToast() {
	clearTimeout(toastTimer);
	// A toast with the focus or under the pointer stays open.
	toastTimer = setTimeout(() => ($("#toast").matches(":hover, :focus-within") ? keepToast() : hideToast()), TOAST);
}

function hideToast() {
	clearTimeout(toastTimer);
	if ($("#toast").contains(document.activeElement)) $("#list").focus();
	$("#toast").replaceChildren();
}

function button(label, act) {
	return make("button", { type: "button", textContent: label, onclick: act });
}

function make(name, properties) {
	return Object.assign(document.createElement(name), properties);
}

// Menus.

/** Places a menu next to the button that opens it. */
function placeMenu(menu, opener) {
	const { top, bottom, right } = opener.getBoundingClientRect();
	const isLow = bottom > innerHeight * 0.7;
	menu.style.right = `${document.documentElement.clientWidth - right}px`;
	menu.style.top = isLow ? "auto" : `${bottom}px`;
	menu.style.bottom = isLow ? `${innerHeight - top}px` : "auto";
}

let menuOpener = null;

function showRowMenu(_, opener) {
	menuOpener = opener;
	placeMenu($("#row-menu"), opener);
	$("#row-menu").showPopover();
	$("#row-menu button").focus();
}

$("#row-menu").onclick = ({ target }) => {
	$("#row-menu").hidePopover();
	if (target.value && menuOpener.isConnected) list.act(target.value, menuOpener);
};
$("#menu").onbeforetoggle = () => placeMenu($("#menu"), $("#menu-button"));
$("#menu").onclick = ({ target }) => target.closest("button, a") && $("#menu").hidePopover();
$("#complete-all").onclick = () => bulkUpdate({ completed: true }, false);
$("#clear").onclick = () => bulkUpdate(null, true);
$("#show-keys").onclick = showKeys;
if ($("#subscribe")) $("#subscribe").onclick = subscribe;
$("#forget").hidden = !token.get();
$("#forget").onclick = () => {
	token.forget();
	location.reload();
};

// Searching.

let typing = 0;
searchField.oninput = () => {
	clearTimeout(typing);
	typing = setTimeout(search, TYPING);
};
sortField.onchange = search;
$("#search-button").onclick = () => {
	document.body.classList.toggle("searching");
	if (document.body.classList.contains("searching")) return searchField.focus();
	searchField.value = "";
	search();
};

function search() {
	const asked = { q: searchField.value.trim(), sort: sortField.value };
	if (asked.q === state.q && asked.sort === state.sort) return;
	history.replaceState(null, "", `#${address(state.view, asked)}`);
	route();
}

// Typed text survives a reload.

function saveDraft() {
	const { editing } = list;
	const add = addForm.isEmpty ? null : addForm.values;
	const edit = editing && { id: editing.todo.id, values: editing.form.values };
	if (add || edit) session.set(DRAFT, { add, edit });
	else session.remove(DRAFT);
}

function reopenEdit() {
	const { edit } = session.get(DRAFT) ?? {};
	if (edit && list.has(edit.id)) list.edit(edit.id, edit);
}

// Keys.

const KEYS = {
	"/"() {
		document.body.classList.add("searching");
		searchField.select();
	},
	n: () => addForm.fields[0].focus(),
	"?": showKeys,
	ArrowDown: () => list.step(1),
	ArrowUp: () => list.step(-1),
};

document.addEventListener("keydown", (event) => {
	const { key, code, ctrlKey, metaKey, altKey, shiftKey, target } = event;
	if (isComposing(event) || altKey || event.defaultPrevented) return;
	if (key === "Escape") return hideToast();
	if (target.closest("dialog, [popover]") || target.matches("textarea, select, input:not([type=checkbox])")) return;
	if (ctrlKey || metaKey) {
		// In other alphabets, the position of the key counts.
		const letter = /^[a-z]$/i.test(key) ? key.toLowerCase() : code;
		if (shiftKey || (letter !== "z" && letter !== "KeyZ") || !undos.length) return;
		event.preventDefault();
		return undo();
	}
	if (!Object.hasOwn(KEYS, key)) return;
	event.preventDefault();
	KEYS[key]();
});

// Start.

$(".skip").onclick = () => $("#list").focus();

function loadMoreIfSeen() {
	const more = $("#more");
	if (!more.hidden && more.getBoundingClientRect().top < innerHeight + AHEAD) load({ more: true });
}

new IntersectionObserver(loadMoreIfSeen, { rootMargin: `${AHEAD}px` }).observe($("#more"));

addForm.form.addEventListener("input", saveDraft);
addEventListener("hashchange", route);
addEventListener("online", tryNow);
addEventListener("beforeprint", () => list.fillAll());
addEventListener("beforeunload", (event) => outbox.size && !device.isPersistent && event.preventDefault());
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : load()));
setInterval(() => {
	if (document.hidden) return;
	render();
	recount();
}, TICK);

$("#failed").remove();
$("#app").hidden = false;
route();
document.body.classList.toggle("abroad", zonesDiffer());
const saved = session.get(DRAFT)?.add;
if (saved) addForm.values = saved;
if (matchMedia("(hover: hover)").matches) addForm.fields[0].focus();
if (outbox.size) outbox.run();
if (token.get()) checkAccess();

const { worker } = document.documentElement.dataset;
const policy = window.trustedTypes?.createPolicy("worker", { createScriptURL: () => worker });
navigator.serviceWorker?.register(policy?.createScriptURL("") ?? worker).catch(() => {});
