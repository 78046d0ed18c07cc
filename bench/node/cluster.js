// `node cluster.js NAME`: as many processes of NAME.js as WORKERS says, which share the port.
import cluster from "node:cluster";

if (cluster.isPrimary) {
  await import("./store.js"); // which makes the table before two processes do at once
  for (let n = 0; n < Number(process.env.WORKERS); n++) cluster.fork();
  process.on("SIGTERM", () => process.exit());
} else {
  const { listen } = await import(`./${process.argv[2]}.js`);
  listen(Number(process.env.PORT), "127.0.0.1");
}
