// The todos in better-sqlite3, as its documentation recommends: prepared statements and WAL.
import Database from "better-sqlite3";

const db = new Database(process.env.DATABASE_FILE, { timeout: 30_000 });
db.pragma("journal_mode = WAL");
// The package is built with NORMAL, which does not sync every commit.
db.pragma("synchronous = FULL");
db.exec(`CREATE TABLE IF NOT EXISTS todos (
  id INTEGER PRIMARY KEY, title TEXT NOT NULL, description TEXT, completed INTEGER NOT NULL,
  deadline_at TEXT, created_at TEXT NOT NULL, updated_at TEXT NOT NULL
)`);
db.exec("CREATE INDEX IF NOT EXISTS ix_todos_completed ON todos (completed)");

const COLUMNS = ["title", "description", "completed", "deadline_at"];
const select = db.prepare("SELECT * FROM todos WHERE id = ?");
const selectAll = db.prepare("SELECT * FROM todos ORDER BY id LIMIT ?");
const selectSome = db.prepare("SELECT * FROM todos WHERE completed = ? ORDER BY id LIMIT ?");
const insert = db.prepare(`INSERT INTO todos VALUES
  (NULL, @title, @description, @completed, @deadline_at, @now, @now) RETURNING *`);
const remove = db.prepare("DELETE FROM todos WHERE id = ? RETURNING *");

const represent = (row) => row && { ...row, completed: row.completed === 1 };
const store = (todo) => ({
  ...todo,
  ...("completed" in todo && { completed: Number(todo.completed) }),
  now: new Date().toISOString(),
});

export const get = (id) => represent(select.get(id));

export function list({ completed, limit = -1 }) {
  const rows = completed === undefined ? selectAll.all(limit) : selectSome.all(Number(completed), limit);
  return rows.map(represent);
}

export const create = (todo) =>
  represent(insert.get(store({ description: null, completed: false, deadline_at: null, ...todo })));

export const createAll = db.transaction((todos) => todos.map(create));

export function update(id, todo) {
  const changes = COLUMNS.filter((name) => name in todo).map((name) => `${name} = @${name}, `);
  const statement = `UPDATE todos SET ${changes.join("")} updated_at = @now WHERE id = @id RETURNING *`;
  return represent(db.prepare(statement).get({ ...store(todo), id }));
}

export const del = (id) => represent(remove.get(id));
