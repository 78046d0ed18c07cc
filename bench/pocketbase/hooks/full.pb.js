// Sync every commit to disk. PocketBase has no setting for this, so set the PRAGMA on its one writing
// connection. Repeat that each minute, because an idle connection is replaced after three minutes.
onBootstrap((event) => {
  event.next();
  $app.nonconcurrentDB().newQuery("PRAGMA synchronous = FULL").execute();
});
cronAdd("synchronous", "* * * * *", () => {
  $app.nonconcurrentDB().newQuery("PRAGMA synchronous = FULL").execute();
});
