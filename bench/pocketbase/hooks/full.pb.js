// Have every commit on disk, which PocketBase has no setting for: its one writing connection is told so,
// and again each minute, lest it be replaced by a new one when it has been idle for three.
onBootstrap((event) => {
  event.next();
  $app.nonconcurrentDB().newQuery("PRAGMA synchronous = FULL").execute();
});
cronAdd("synchronous", "* * * * *", () => {
  $app.nonconcurrentDB().newQuery("PRAGMA synchronous = FULL").execute();
});
