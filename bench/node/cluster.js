// `node cluster.js NAME`: start WORKERS processes of NAME.js, which share the port.
import cluster from "node:cluster";

if (cluster.isPrimary) {
  await import("./store.js"); // creates the table before the processes start
  for (let n = 0; n < Number(process.env.WORKERS); n++) cluster.fork();
  process.on("SIGTERM", () => process.exit());
} else {
  const { listen } = await import(`./${process.argv[2]}.js`);
  listen(Number(process.env.PORT), "127.0.0.1");
}
