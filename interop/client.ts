// Creates, reads, pages, patches and deletes todos with types made by openapi-typescript.
import createClient from "openapi-fetch";
import type { components, paths } from "./todo_api.js";

declare const process: { argv: string[] };

type Todo = components["schemas"]["TodoOut"];

const { GET, POST, PATCH, DELETE } = createClient<paths>({ baseUrl: process.argv[2] });

function expect(truth: boolean, what: string): asserts truth {
  if (!truth) throw new Error(what);
}

async function create(title: string): Promise<[Todo, string]> {
  const { data, response } = await POST("/api/v1/todos", {
    params: { header: { "Idempotency-Key": `typescript ${title}`.replaceAll(" ", "-") } },
    body: { title, deadline_at: "2027-01-31T18:00:00" },
  });
  expect(response.status === 201 && data !== undefined, "create");
  return [data, response.headers.get("ETag")!];
}

async function pages(limit: number): Promise<Todo[][]> {
  const found: Todo[][] = [];
  let cursor: string | undefined;
  do {
    const { data, response } = await GET("/api/v1/todos", {
      params: { query: { limit, sort: "-title", cursor } },
    });
    expect(Array.isArray(data), "list"); // it has other media types too
    found.push(data);
    const next = response.headers.get("Link")?.match(/<(.*)>/)?.[1];
    cursor = next && (new URL(next).searchParams.get("cursor") ?? undefined);
  } while (cursor);
  return found;
}

const [todo, tag] = await create("one");
await create("two");
await create("three");
const path = { todo_id: todo.id };

const read = await GET("/api/v1/todos/{todo_id}", { params: { path } });
expect(JSON.stringify(read.data) === JSON.stringify(todo), "read");

const titles = (await pages(2)).map((page) => page.map(({ title }) => title));
expect(JSON.stringify(titles) === '[["two","three"],["one"]]', "pages");

const change = { params: { path, header: { "If-Match": tag } }, body: { completed: true, deadline_at: null } };
const patched = await PATCH("/api/v1/todos/{todo_id}", change);
expect(patched.data?.completed === true && patched.data.deadline_at === null, "patch");
const late = await PATCH("/api/v1/todos/{todo_id}", change);
expect(late.error?.status === 412 && late.error.type === "/problems/precondition-failed", "patch too late");

for (const { id } of (await pages(1000)).flat()) {
  const { response } = await DELETE("/api/v1/todos/{todo_id}", { params: { path: { todo_id: id } } });
  expect(response.status === 200, "delete");
}
expect((await GET("/api/v1/todos/{todo_id}", { params: { path } })).error?.status === 404, "deleted");
