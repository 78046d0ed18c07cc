// The collection, without authentication as in the service, and the batch API, which is off by default.
migrate((app) => {
  app.save(
    new Collection({
      type: "base",
      name: "todos",
      listRule: "",
      viewRule: "",
      createRule: "",
      updateRule: "",
      deleteRule: "",
      fields: [
        { type: "text", name: "title", required: true, max: 80 },
        { type: "text", name: "description", max: 120 },
        { type: "bool", name: "completed" },
        { type: "date", name: "deadline_at" },
        { type: "autodate", name: "created_at", onCreate: true },
        { type: "autodate", name: "updated_at", onCreate: true, onUpdate: true },
      ],
      indexes: ["CREATE INDEX ix_todos_completed ON todos (completed)"],
    }),
  );
  const settings = app.settings();
  settings.batch.enabled = true;
  settings.batch.maxRequests = 100;
  app.save(settings);
});
