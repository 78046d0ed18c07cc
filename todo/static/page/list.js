/**
 * The list on the screen: groups of todos, divided into chunks. A chunk far from the viewport is an empty box
 * with the height of its todos.
 */

import { isComposing, TodoForm } from "./form.js";
import { ago, describe, isOverdue, language, number, text } from "./words.js";

const CHUNK = 20; // todos
const USUAL_HEIGHT = 60; // pixels, assumed for a row that was never shown
const LINK = /\b(?:https?:\/\/|mailto:)[^\s<>"]*[^\s<>"'.,;:!?)\]}]/g;

/** @typedef {import("./api.js").Todo} Todo */

export class List {
	/** @type {Map<string, Group>} */
	#groups = new Map();
	/** The chunk of each todo, by its id. @type {Map<number | string, Chunk>} */
	#homes = new Map();
	/** The rows in the document, by the todo's id. @type {Map<number | string, Element>} */
	#rows = new Map();
	#observer = new IntersectionObserver(
		(entries) => {
			for (const { target, isIntersecting } of entries) {
				const chunk = target.chunk;
				if (isIntersecting) this.#fill(chunk);
				else this.#empty(chunk);
			}
		},
		{ rootMargin: "800px" },
	);

	/** The open edit. @type {{todo: Todo, form: TodoForm, close: () => void, leave: () => void} | null} */
	editing = null;

	/**
	 * @param handlers `toggle`, `change`, `remove`, `restore` a todo, open its `menu`, `fold` a group, hear of what
	 *   was `typed` and of an edit that was `closed`, and tell whether a todo is `unsaved`
	 */
	constructor(element, handlers) {
		this.element = element;
		this.handlers = handlers;
		element.addEventListener("change", ({ target }) => {
			if (target.dataset.does) handlers.toggle(todoAt(target), target.checked);
		});
		element.addEventListener("click", ({ target }) => {
			const button = target.closest("button");
			if (button?.dataset.fold) return handlers.fold(button.dataset.fold);
			if (button?.dataset.does) return this.act(button.dataset.does, button);
			const isText = target.closest(".todo") && !target.closest("a");
			if (isText && getSelection().isCollapsed) this.edit(todoAt(target).id);
		});
	}

	/** Executes the action of a button in a row or in its menu. */
	act(does, element) {
		const todo = todoAt(element);
		if (does === "edit") this.edit(todo.id);
		else this.handlers[does](todo, element);
	}

	has(id) {
		return this.#homes.has(id);
	}

	/**
	 * Shows these groups without moving the open edit.
	 *
	 * @param {{key: string, label: string, todos: Todo[], total?: number, isFolded?: boolean}[]} groups
	 */
	show(groups) {
		const active = document.activeElement;
		const focusedRow = this.element.contains(active) && active.closest(".row");
		const rows = focusedRow ? [...this.element.querySelectorAll(".row")] : [];
		const anchor = this.editing && this.#rows.get(this.editing.todo.id);
		const top = anchor?.getBoundingClientRect().top;
		if (anchor) groups = this.#withEdited(groups);

		const old = this.#homes;
		this.#homes = new Map();
		for (const group of groups) this.#divide(group, old);
		for (const key of this.#groups.keys()) if (!groups.some((group) => group.key === key)) this.#groups.delete(key);
		const shown = groups.map(({ key }) => this.#groups.get(key));
		for (const id of this.#rows.keys()) if (!this.#homes.has(id)) this.#rows.delete(id);
		arrange(this.element, shown.map(({ section }) => section));
		let filled = 0;
		for (const { box, chunks } of shown) {
			arrange(box, chunks.map((chunk) => chunk.box));
			for (const chunk of chunks) {
				if (chunk.isFilled || filled < CHUNK || chunk.todos.some(({ id }) => this.#rows.has(id))) this.#fill(chunk);
				else chunk.box.style.height = `${chunk.todos.length * USUAL_HEIGHT}px`;
				if (chunk.isFilled) filled += chunk.todos.length;
			}
		}

		if (anchor) scrollBy(0, anchor.getBoundingClientRect().top - top);
		if (!focusedRow || document.activeElement === active) return;
		if (active.isConnected) return active.focus({ preventScroll: true });
		const place = rows.indexOf(focusedRow);
		const next = [...rows.slice(place + 1), ...rows.slice(0, place).reverse()].find((row) => row.isConnected);
		if (next) focus(next, active.dataset.does);
	}

	/** Keeps the row of a draft that the service has stored. */
	rename(id, todo) {
		for (const places of [this.#homes, this.#rows]) {
			if (!places.has(id)) continue;
			places.set(todo.id, places.get(id));
			places.delete(id);
		}
		if (this.editing?.todo.id === id) this.editing.todo = { ...this.editing.todo, id: todo.id };
	}

	/** Fills every chunk for printing. */
	fillAll() {
		for (const { chunks } of this.#groups.values()) chunks.forEach((chunk) => this.#fill(chunk));
	}

	/** Moves the focus by some rows. */
	step(distance) {
		const rows = [...this.element.querySelectorAll(".row:not(.editing)")];
		const active = document.activeElement;
		const row = rows[this.element.contains(active) ? rows.indexOf(active.closest(".row")) + distance : 0];
		if (row) focus(row, active.dataset.does);
	}

	/** Turns a row into an editor, with the typed text after a problem or a reload. */
	edit(id, { members, values, problem } = {}) {
		const chunk = this.#homes.get(id);
		const todo = chunk?.todos.find((other) => other.id === id);
		if (!todo || todo.deleted_at || this.editing?.todo.id === id || this.handlers.isReadOnly()) return;
		this.editing?.leave();
		this.#fill(chunk);
		const row = this.#rows.get(id);
		const editor = EDITOR.cloneNode(true);
		row.append(editor);
		row.classList.add("editing");
		const close = () => {
			if (!editor.isConnected) return;
			const isFocused = row.contains(document.activeElement);
			this.editing = null;
			editor.remove();
			row.classList.remove("editing");
			if (isFocused) focus(row, "edit");
			this.handlers.closed();
		};
		const save = (typed) => {
			const seen = this.editing.todo;
			const changed = Object.entries(typed).filter(([name, value]) => value !== before[name]);
			close();
			if (changed.length) this.handlers.change(seen, Object.fromEntries(changed));
		};
		const leave = () => {
			// An empty title does not delete the todo.
			if (!form.fields[0].value.trim()) form.fields[0].value = todo.title;
			if (form.check()) save(form.read());
		};
		const form = new TodoForm(editor, save);
		form.fill(todo);
		const before = form.read();
		if (members) form.fill({ ...todo, ...members });
		if (values) form.values = values;
		this.editing = { todo, form, close, leave };
		editor.addEventListener("input", () => this.handlers.typed());
		editor.addEventListener("keydown", (event) => event.key === "Escape" && !isComposing(event) && close());
		editor.querySelector(".cancel").addEventListener("click", close);
		editor.querySelector(".delete").addEventListener("click", () => {
			const seen = this.editing.todo;
			close();
			this.handlers.remove(seen);
		});
		// A click on a button or next to a field must not move the focus out of the editor.
		editor.addEventListener("mousedown", (event) => event.target.closest("label, input, textarea") || event.preventDefault());
		editor.addEventListener("focusout", () =>
			setTimeout(() => {
				if (editor.isConnected && document.hasFocus() && !editor.contains(document.activeElement)) leave();
			}),
		);
		form.fields[0].select();
		form.fields[0].focus();
		if (problem) form.refuse(problem);
	}

	/** Keeps the edited todo at its place, with its values at the start of the edit. */
	#withEdited(groups) {
		const { todo } = this.editing;
		const chunk = this.#homes.get(todo.id);
		const home = [...this.#groups.values()].find(({ chunks }) => chunks.includes(chunk));
		const result = groups.map((group) => ({ ...group, todos: group.todos.filter(({ id }) => id !== todo.id) }));
		let group = result.find(({ key }) => key === home.key);
		if (!group) {
			group = { key: home.key, label: home.label, todos: [] };
			const keys = [...this.#groups.keys()];
			const later = keys.slice(keys.indexOf(home.key));
			const place = result.findIndex(({ key }) => later.includes(key));
			result.splice(place < 0 ? result.length : place, 0, group);
		}
		const ids = home.chunks.flatMap(({ todos }) => todos.map(({ id }) => id));
		const above = new Set(ids.slice(0, ids.indexOf(todo.id)));
		group.todos.splice(group.todos.findLastIndex(({ id }) => above.has(id)) + 1, 0, todo);
		group.isFolded &&= false;
		return result.filter(({ todos }) => todos.length);
	}

	/** Divides the todos of a group into its chunks, and moves few of them. */
	#divide({ key, label, todos, total = todos.length, isFolded }, old) {
		const group = this.#groups.get(key) ?? new Group(key);
		// Groups are in the order in which they are shown.
		this.#groups.delete(key);
		this.#groups.set(key, group);
		group.describe(label, total, isFolded);
		const before = group.chunks;
		const chunks = [];
		let last = -1;
		for (const todo of isFolded ? [] : todos) {
			const place = before.indexOf(old.get(todo.id));
			const room = chunks.at(-1)?.isNew ? CHUNK : 2 * CHUNK;
			if (place > last) {
				last = place;
				before[place].todos = [];
				chunks.push(before[place]);
			} else if (!chunks.length || chunks.at(-1).todos.length >= room) chunks.push(new Chunk());
			const chunk = chunks.at(-1);
			chunk.todos.push(todo);
			this.#homes.set(todo.id, chunk);
		}
		for (const chunk of before) if (!chunks.includes(chunk)) this.#observer.unobserve(chunk.box);
		for (const chunk of chunks) {
			if (chunk.isNew) this.#observer.observe(chunk.box);
			chunk.isNew = false;
		}
		group.chunks = chunks;
	}

	/** Inserts or updates the rows of a chunk. */
	#fill(chunk) {
		const { box, todos } = chunk;
		arrange(box, todos.map((todo) => this.#render(todo)));
		box.style.height = "";
		chunk.isFilled = true;
		const group = [...this.#groups.values()].find(({ chunks }) => chunks.includes(chunk));
		if (!group) return;
		// Most rows are not in the document, so each row states its position and the total.
		let position = 0;
		for (const other of group.chunks.slice(0, group.chunks.indexOf(chunk))) position += other.todos.length;
		[...box.children].forEach((row, i) => {
			row.ariaPosInSet = position + i + 1;
			row.ariaSetSize = group.total;
		});
	}

	/** Removes the rows, unless one of them has the focus or an editor. */
	#empty(chunk) {
		const { box, todos, isFilled } = chunk;
		if (!isFilled || box.contains(document.activeElement) || box.querySelector(".editor")) return;
		box.style.height = `${box.offsetHeight}px`;
		box.replaceChildren();
		for (const { id } of todos) this.#rows.delete(id);
		chunk.isFilled = false;
	}

	#render(todo) {
		const row = this.#rows.get(todo.id) ?? ROW.cloneNode(true);
		this.#rows.set(todo.id, row);
		row.todo = todo;
		const { title, description, completed, deadline_at: deadline, deleted_at: deleted } = todo;
		const time = row.querySelector("time");
		row.classList.toggle("completed", completed && !deleted);
		row.classList.toggle("dated", deadline !== null && !deleted);
		row.classList.toggle("deleted", Boolean(deleted));
		row.classList.toggle("overdue", isOverdue(todo) && !deleted);
		row.classList.toggle("pending", this.handlers.unsaved(todo));
		for (const control of row.querySelectorAll("[data-does]")) control.ariaLabel = text(control.dataset.does, { title });
		const [toggle] = row.querySelectorAll("input");
		toggle.checked = completed;
		toggle.disabled = this.handlers.isReadOnly();
		write(row.querySelector(".title"), title);
		if (write(row.querySelector(".description"), description ?? "")) linkUp(row.querySelector(".description"));
		time.dateTime = deleted ?? deadline ?? "";
		time.lang = language();
		write(time, deleted ? ago(deleted) : deadline === null ? "" : describe(deadline));
		return row;
	}
}

/** A heading, and the todos below it. */
class Group {
	/** @type {Chunk[]} */
	chunks = [];
	section = GROUP.cloneNode(true);
	box = this.section.querySelector("[role=list]");

	constructor(key) {
		this.key = key;
		this.section.dataset.group = key;
		this.section.querySelector("button").dataset.fold = key;
	}

	describe(label, total, isFolded) {
		this.label = label;
		this.total = total;
		const [plain, button] = this.section.querySelectorAll("h2 > *");
		const heading = isFolded === undefined ? plain : button;
		plain.hidden = !label || heading !== plain;
		button.hidden = heading !== button;
		button.ariaExpanded = String(!isFolded);
		heading.querySelector(".label").textContent = label;
		heading.querySelector(".count").textContent = label && total >= 0 ? number(total) : "";
		this.section.querySelector("h2").hidden = !label;
		this.box.ariaLabel = label || text("list");
		this.box.hidden = isFolded ?? false;
	}
}

/** Some todos, and the box that contains them. */
class Chunk {
	isNew = true;
	isFilled = false;
	/** @type {Todo[]} */
	todos = [];
	box = Object.assign(document.createElement("div"), { role: "presentation", chunk: this });
}

/** Returns the todo of the row that contains an element. @returns {Todo} */
function todoAt(element) {
	return element.closest(".row").todo;
}

/** Sets the children of an element. Does not move children that are already in order. */
function arrange(parent, wanted) {
	const kept = new Set(wanted);
	for (const child of [...parent.children]) if (!kept.has(child)) child.remove();
	wanted.forEach((child, i) => {
		if (parent.children[i] !== child) parent.insertBefore(child, parent.children[i] ?? null);
	});
}

/** Focuses a control of a row if it is visible, or else the first visible control. */
function focus(row, does) {
	const controls = [...row.querySelectorAll("[data-does]")].filter((control) => control.checkVisibility());
	(controls.find((control) => control.dataset.does === does) ?? controls[0])?.focus();
}

/** Sets a text if it differs, so that a selection is kept. Returns whether the text was set. */
function write(element, words) {
	if (element.textContent === words) return false;
	element.textContent = words;
	return true;
}

function linkUp(element) {
	const words = element.textContent;
	const parts = [];
	let end = 0;
	for (const { 0: href, index } of words.matchAll(LINK)) {
		const link = Object.assign(document.createElement("a"), { href, target: "_blank", rel: "noreferrer" });
		link.textContent = href;
		parts.push(words.slice(end, index), link);
		end = index + href.length;
	}
	if (parts.length) element.replaceChildren(...parts, words.slice(end));
}

// Both forms have the same fields.
const FIELDS = document.querySelectorAll("#add :is(.details, .error)");
const [GROUP, ROW, EDITOR] = ["group", "row", "editor"].map((id) => document.getElementById(id).content.firstElementChild);
EDITOR.firstElementChild.after(...[...FIELDS].map((field) => field.cloneNode(true)));
