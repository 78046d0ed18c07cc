// The API as the guide of Express teaches it: a router, the JSON middleware, an error handler.
import express from "express";
import * as store from "./store.js";

const app = express();
const api = express.Router();

class Invalid extends Error {}

function isTime(value) {
  return typeof value === "string" && !Number.isNaN(Date.parse(value));
}

function check(todo, { whole = false } = {}) {
  if (typeof todo !== "object" || todo === null || Array.isArray(todo)) {
    throw new Invalid("The body must be an object");
  }
  for (const name of Object.keys(todo)) {
    if (!["title", "description", "completed", "deadline_at"].includes(name)) {
      throw new Invalid(`Unknown member: ${name}`);
    }
  }
  const { title, description, completed, deadline_at } = todo;
  if (title !== undefined || whole) {
    if (typeof title !== "string" || !title.trim() || title.length > 80) {
      throw new Invalid("title must be a string of 1 to 80 characters");
    }
  }
  if (description !== undefined && description !== null) {
    if (typeof description !== "string" || description.length > 120) {
      throw new Invalid("description must be a string of at most 120 characters");
    }
  }
  if (completed !== undefined && typeof completed !== "boolean") {
    throw new Invalid("completed must be true or false");
  }
  if (deadline_at !== undefined && deadline_at !== null && !isTime(deadline_at)) {
    throw new Invalid("deadline_at must be a time");
  }
  return todo;
}

function send(response, todo) {
  if (todo) response.json(todo);
  else response.status(404).json({ error: "Todo not found" });
}

function update(request, response) {
  send(response, store.update(Number(request.params.id), check(request.body)));
}

api.get("/health", (request, response) => response.json({ status: "ok" }));

api.get("/todos", (request, response) => {
  const { completed, limit } = request.query;
  response.json(
    store.list({
      completed: completed === undefined ? undefined : completed === "true",
      limit: limit === undefined ? undefined : Number(limit),
    }),
  );
});

api.get("/todos/:id", (request, response) => send(response, store.get(Number(request.params.id))));

api.post("/todos", (request, response) => {
  const todo = store.create(check(request.body, { whole: true }));
  response.status(201).location(`/api/v1/todos/${todo.id}`).json(todo);
});

api.post("/todos/batch", (request, response) => {
  const todos = request.body.operations.map(({ todo }) => check(todo, { whole: true }));
  response.json({ results: store.createAll(todos) });
});

api.put("/todos/:id", update);
api.patch("/todos/:id", update);
api.delete("/todos/:id", (request, response) => response.json(store.del(Number(request.params.id)) ?? {}));

app.use(express.json());
app.use("/api/v1", api);
app.use((error, request, response, next) => {
  const status = error instanceof Invalid ? 400 : (error.status ?? 500);
  response.status(status).json({ error: status < 500 ? error.message : "Internal error" });
});

export const listen = (port, host) => app.listen(port, host);
