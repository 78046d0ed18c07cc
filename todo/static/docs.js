/** Shows the API description with Swagger UI, in the colours of the system. */

const MAX_PATTERN = 100; // characters; the pattern of a time has 900 and tells a reader nothing

const dark = matchMedia("(prefers-color-scheme: dark)");
const showColors = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", showColors);
showColors();

/** Removes the routes of no use to a reader: HEAD, OPTIONS, pages and files. */
function removeInternal(description) {
  for (const [path, item] of Object.entries(description.paths)) {
    for (const [method, operation] of Object.entries(item)) {
      if (operation["x-internal"]) delete item[method];
    }
    if (!Object.keys(item).length) delete description.paths[path];
  }
  const used = new Set(Object.values(description.paths).flatMap(Object.values).flatMap(({ tags }) => tags));
  description.tags = description.tags.filter(({ name }) => used.has(name));
}

function removeLongPatterns(value) {
  if (typeof value !== "object" || value === null) return;
  if (value.pattern?.length > MAX_PATTERN) delete value.pattern;
  Object.values(value).forEach(removeLongPatterns);
}

async function show() {
  const response = await fetch("api/v1/openapi.json");
  if (!response.ok) throw new Error(`Status ${response.status}`);
  const description = await response.json();
  removeInternal(description);
  removeLongPatterns(description);
  SwaggerUIBundle({
    spec: description,
    dom_id: "#docs",
    deepLinking: true,
    tryItOutEnabled: true,
    defaultModelsExpandDepth: 0,
    validatorUrl: null, // it would be another host
  });
}

show().catch((error) => {
  document.querySelector("#docs").textContent = `The description cannot be loaded. Reload the page. (${error.message})`;
});
