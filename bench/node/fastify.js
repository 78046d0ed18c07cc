// The API as the guides of Fastify teach it: a plugin of routes with schemas of requests and responses.
import Fastify from "fastify";
import * as store from "./store.js";

// The strictest validation: bodies are neither coerced nor stripped of unknown members.
const fastify = Fastify({ ajv: { customOptions: { coerceTypes: false, removeAdditional: false } } });

const properties = {
  title: { type: "string", minLength: 1, maxLength: 80, pattern: "\\S" },
  description: { type: ["string", "null"], maxLength: 120 },
  completed: { type: "boolean" },
  deadline_at: { type: ["string", "null"], format: "iso-date-time" },
};
const changes = { type: "object", properties, additionalProperties: false };
const creation = { ...changes, required: ["title"] };
const todo = {
  type: "object",
  properties: {
    id: { type: "integer" },
    title: { type: "string" },
    description: { type: ["string", "null"] },
    completed: { type: "boolean" },
    deadline_at: { type: ["string", "null"] },
    created_at: { type: "string" },
    updated_at: { type: "string" },
  },
};
const todos = { type: "array", items: todo };
const query = {
  type: "object",
  properties: {
    completed: { enum: ["true", "false"] },
    limit: { type: "string", pattern: "^[0-9]+$" },
  },
  additionalProperties: false,
};
const operations = {
  type: "array",
  maxItems: 1000,
  items: {
    type: "object",
    properties: { op: { const: "create" }, todo: creation },
    required: ["op", "todo"],
  },
};

function orNotFound(reply, found) {
  return found ?? reply.code(404).send({ error: "Todo not found" });
}

async function api(routes) {
  routes.get("/health", async () => ({ status: "ok" }));

  routes.get("/todos", { schema: { querystring: query, response: { 200: todos } } }, async (request) => {
    const { completed, limit } = request.query;
    return store.list({
      completed: completed === undefined ? undefined : completed === "true",
      limit: limit === undefined ? undefined : Number(limit),
    });
  });

  routes.get("/todos/:id", { schema: { response: { 200: todo } } }, async (request, reply) =>
    orNotFound(reply, store.get(Number(request.params.id))),
  );

  routes.post("/todos", { schema: { body: creation, response: { 201: todo } } }, async (request, reply) => {
    const created = store.create(request.body);
    reply.code(201).header("location", `/api/v1/todos/${created.id}`);
    return created;
  });

  routes.post(
    "/todos/batch",
    {
      schema: {
        body: { type: "object", properties: { operations }, required: ["operations"] },
        response: { 200: { type: "object", properties: { results: todos } } },
      },
    },
    async (request) => ({ results: store.createAll(request.body.operations.map(({ todo }) => todo)) }),
  );

  routes.route({
    method: ["PUT", "PATCH"],
    url: "/todos/:id",
    schema: { body: changes, response: { 200: todo } },
    handler: async (request, reply) => orNotFound(reply, store.update(Number(request.params.id), request.body)),
  });

  routes.delete("/todos/:id", async (request) => store.del(Number(request.params.id)) ?? {});
}

fastify.register(api, { prefix: "/api/v1" });

export const listen = (port, host) => fastify.listen({ port, host });
