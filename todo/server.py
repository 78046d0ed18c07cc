"""The command `todo-server`: the commands of `flask --app todo`, from any folder."""

from flask.cli import FlaskGroup

from todo import create_app

# Read settings from the environment only, not from a file .env in the current folder.
main = FlaskGroup(
    name="todo-server", create_app=create_app, load_dotenv=False, help="Run and manage the service."
)
