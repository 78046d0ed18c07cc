# What `flask` reads in this folder: `flask run --debug` serves on port 6400, and reloads when one of these files changes.
FLASK_APP=todo
FLASK_RUN_PORT=6400
FLASK_RUN_EXTRA_FILES=todo/static/docs.css:todo/static/docs.html:todo/static/docs.js:todo/static/page/api.js:todo/static/page/dates.js:todo/static/page/dialogs.js:todo/static/page/form.js:todo/static/page/icon-192.png:todo/static/page/icon.svg:todo/static/page/list.js:todo/static/page/main.js:todo/static/page/outbox.js:todo/static/page/page.css:todo/static/page/service-worker.js:todo/static/page/store.js:todo/static/page/words.js:todo/templates/not-found.html:todo/templates/page.html:todo/templates/texts.json
