/**
 * The list on the screen. Todos stand in chunks; one that is far from the view is an empty box of the
 * height that it had.
 */

import { TodoForm } from "./form.js";
import { isOverdue, language, shortTime, text } from "./words.js";

const CHUNK = 40; // todos
const USUAL_HEIGHT = 60; // pixels, of a row that was never shown

export class List {
	/** @type {Chunk[]} */
	#chunks = [];
	/** The chunk of each todo, by its id. @type {Map<number | string, Chunk>} */
	#places = new Map();
	#observer = new IntersectionObserver(
		(entries) => {
			for (const { target, isIntersecting } of entries) {
				const chunk = this.#chunks.find(({ box }) => box === target);
				if (isIntersecting) this.#fill(chunk);
				else chunk?.empty();
			}
		},
		{ rootMargin: "800px" },
	);

	/** @param handlers `toggle`, `change` and `remove` a todo, and tell whether it is `unsaved` */
	constructor(element, handlers) {
		this.element = element;
		this.handlers = handlers;
		/** How many todos there are, loaded or not. */
		this.total = 0;
		element.addEventListener("change", ({ target }) => {
			if (target.dataset.does) handlers.toggle(this.#at(target), target.checked);
		});
		element.addEventListener("dblclick", ({ target }) => {
			if (target.closest(".todo")) this.edit(this.#at(target).id);
		});
		element.addEventListener("click", ({ target }) => {
			const does = target.closest("button")?.dataset.does;
			if (does === "edit") this.edit(this.#at(target).id);
			if (does === "remove") handlers.remove(this.#at(target));
		});
	}

	/** Those that are loaded, in order. */
	get todos() {
		return this.#chunks.flatMap(({ todos }) => todos);
	}

	get isEditing() {
		return this.element.querySelector(".editor") !== null;
	}

	has(id) {
		return this.#places.has(id);
	}

	/** Shows todos in the place of all that are there. */
	show(todos) {
		const { id, does } = this.#focused() ?? {};
		this.#observer.disconnect();
		this.#chunks = [];
		this.#places.clear();
		this.element.replaceChildren();
		this.append(todos);
		this.#fill(this.#chunks[0]);
		if (does) this.#row(id)?.querySelector(`[data-does=${does}]`).focus();
	}

	append(todos) {
		const others = todos.filter(({ id }) => !this.has(id));
		for (let i = 0; i < others.length; i += CHUNK) this.#addChunk(others.slice(i, i + CHUNK));
	}

	/** Shows a todo at an index among those that are loaded. */
	insert(todo, index = 0) {
		const next = this.todos[index];
		const chunk = this.#places.get(next?.id) ?? this.#chunks.at(-1) ?? this.#addChunk([]);
		const place = next ? chunk.indexOf(next.id) : chunk.todos.length;
		this.#fill(chunk);
		chunk.todos.splice(place, 0, todo);
		this.#places.set(todo.id, chunk);
		chunk.box.insertBefore(this.#render(ROW.cloneNode(true), todo), chunk.box.children[place] ?? null);
		this.total += 1;
		this.#number();
	}

	/** Shows what became of the todo that had `id`. */
	update(id, todo) {
		// A draft that became a todo may have been read as one already.
		if (id !== todo.id && this.has(todo.id)) this.remove(id);
		const chunk = this.#places.get(id);
		if (!chunk) return;
		const row = this.#row(id);
		chunk.todos[chunk.indexOf(id)] = todo;
		this.#places.delete(id);
		this.#places.set(todo.id, chunk);
		if (row) this.#render(row, todo);
	}

	indexOf(id) {
		return this.todos.findIndex((todo) => todo.id === id);
	}

	/** Takes a todo away; its neighbour gets the focus that it had. */
	remove(id) {
		const chunk = this.#places.get(id);
		if (!chunk) return;
		const row = this.#row(id);
		const focused = this.#focused();
		const rows = [...this.element.querySelectorAll(".row")];
		const neighbour = rows[rows.indexOf(row) + 1] ?? rows.at(-2);
		chunk.todos.splice(chunk.indexOf(id), 1);
		this.#places.delete(id);
		row?.remove();
		this.total -= 1;
		this.#number();
		if (focused?.id === id) neighbour?.querySelector(`[data-does=${focused.does}]`).focus();
	}

	/** Shows again what depends on the time, or on what is saved. */
	refresh() {
		for (const row of this.element.querySelectorAll(".row")) this.#render(row, this.#at(row));
	}

	/** Makes a row an editor, of what was typed before where there was a problem. */
	edit(id, typed, problem) {
		this.#fill(this.#places.get(id));
		const row = this.#row(id);
		if (!row || row.querySelector(".editor")) return;
		const todo = this.#at(row);
		const editor = EDITOR.cloneNode(true);
		row.append(editor);
		row.classList.add("editing");
		const close = () => {
			const focused = row.contains(document.activeElement);
			editor.remove();
			row.classList.remove("editing");
			if (focused) row.querySelector("[data-does=edit]").focus();
		};
		const form = new TodoForm(editor, (members) => {
			const changed = Object.entries(members).filter(([name, value]) => value !== before[name]);
			close();
			if (!members.title) this.handlers.remove(todo);
			else if (changed.length) this.handlers.change(todo, Object.fromEntries(changed));
		});
		form.fill(todo);
		const before = form.read();
		if (typed) form.fill({ ...todo, ...typed });
		editor.addEventListener("keydown", ({ key, isComposing }) => key === "Escape" && !isComposing && close());
		editor.querySelector("[type=button]").addEventListener("click", close);
		// Not every browser gives the focus to a button that is clicked: the fields would lose it to nothing.
		editor.addEventListener("pointerdown", (event) => event.target.closest("button") && event.preventDefault());
		editor.addEventListener("focusout", () =>
			setTimeout(() => {
				const isLeft = editor.isConnected && document.hasFocus() && !editor.contains(document.activeElement);
				if (isLeft && form.check()) editor.requestSubmit();
			}),
		);
		form.fields[0].select();
		if (problem) form.refuse(problem);
	}

	#addChunk(todos) {
		const chunk = new Chunk(todos);
		for (const { id } of todos) this.#places.set(id, chunk);
		this.#chunks.push(chunk);
		this.element.append(chunk.box);
		this.#observer.observe(chunk.box);
		return chunk;
	}

	#fill(chunk) {
		if (!chunk || chunk.isFilled) return;
		chunk.fill(chunk.todos.map((todo) => this.#render(ROW.cloneNode(true), todo)));
		this.#number();
	}

	/** Says in each row which one of how many it is, since most are not in the document. */
	#number() {
		let position = 0;
		for (const { todos, box } of this.#chunks) {
			[...box.children].forEach((row, i) => {
				row.ariaPosInSet = position + i + 1;
				row.ariaSetSize = Math.max(this.total, this.#places.size);
			});
			position += todos.length;
		}
	}

	#render(row, todo) {
		const [toggle, edit, remove] = row.querySelectorAll("[data-does]");
		const time = row.querySelector("time");
		const dated = todo.deadline_at !== null;
		row.dataset.id = todo.id;
		row.classList.toggle("completed", todo.completed);
		row.classList.toggle("dated", dated);
		row.classList.toggle("overdue", isOverdue(todo));
		row.classList.toggle("pending", this.handlers.unsaved(todo));
		toggle.checked = todo.completed;
		toggle.ariaLabel = text("complete", todo);
		edit.ariaLabel = text("edit", todo);
		remove.ariaLabel = text("remove", todo);
		row.querySelector(".title").textContent = todo.title;
		row.querySelector(".description").textContent = todo.description;
		time.dateTime = todo.deadline_at;
		time.lang = language;
		time.textContent = dated ? shortTime(todo.deadline_at) : "";
		return row;
	}

	/** The todo and the control that have the focus, where it is not in an editor. */
	#focused() {
		const control = document.activeElement.closest("#list [data-does]");
		return control && { id: this.#at(control).id, does: control.dataset.does };
	}

	#row(id) {
		return [...(this.#places.get(id)?.box.children ?? [])].find((row) => row.dataset.id === String(id));
	}

	/** The todo that an element belongs to. */
	#at(element) {
		const { id } = element.closest(".row").dataset;
		const key = this.has(id) ? id : Number(id);
		const { todos } = this.#places.get(key);
		return todos.find((todo) => todo.id === key);
	}
}

/** Some todos, and the box that they stand in. */
class Chunk {
	isFilled = false;
	box = document.createElement("div");

	constructor(todos) {
		this.todos = todos;
		this.box.role = "presentation";
		this.box.style.height = `${todos.length * USUAL_HEIGHT}px`;
	}

	indexOf(id) {
		return this.todos.findIndex((todo) => todo.id === id);
	}

	fill(rows) {
		this.box.replaceChildren(...rows);
		this.box.style.height = "";
		this.isFilled = true;
	}

	/** Takes the rows away, unless someone is at work in them. */
	empty() {
		if (!this.isFilled || this.box.contains(document.activeElement) || this.box.querySelector(".editor")) return;
		this.box.style.height = `${this.box.offsetHeight}px`;
		this.box.replaceChildren();
		this.isFilled = false;
	}
}

const ROW = document.getElementById("row").content.firstElementChild;
const EDITOR = document.getElementById("editor").content.firstElementChild;
