/**
 * Caches the files of the page, so that the page starts without a connection. Never caches the API.
 *
 * The service writes two constants before this text: VERSION, which changes with the page, and FILES.
 */

const PAGE = new URL("./", location.href).href;
const PREFIX = "todo-page ";
const NAME = `${PREFIX}${PAGE} ${VERSION}`;
const TIMEOUT = 4000; // milliseconds before the cached page is shown

addEventListener("install", (event) => {
	skipWaiting();
	event.waitUntil(caches.open(NAME).then((cache) => cache.addAll([PAGE, ...FILES])));
});

addEventListener("activate", (event) => {
	event.waitUntil(removeOld());
});

addEventListener("fetch", (event) => {
	const { method, mode, url } = event.request;
	const address = new URL(url);
	if (method !== "GET" || address.origin !== location.origin) return;
	if (mode === "navigate" && address.origin + address.pathname === PAGE) event.respondWith(show(event.request));
	else if (FILES.includes(address.pathname)) event.respondWith(caches.match(event.request).then((kept) => kept ?? fetch(event.request)));
});

/** Returns the current page, or the cached page. */
async function show(request) {
	try {
		const response = await fetch(request, { signal: AbortSignal.timeout(TIMEOUT) });
		if (response.status < 500) return response;
	} catch {
		// No connection.
	}
	return (await caches.match(PAGE)) ?? Response.error();
}

async function removeOld() {
	const names = await caches.keys();
	await Promise.all(names.filter((name) => name.startsWith(`${PREFIX}${PAGE} `) && name !== NAME).map((name) => caches.delete(name)));
}
