"""The table."""

from django.db import models


class Todo(models.Model):
    """A todo."""

    title = models.CharField(max_length=80)
    description = models.CharField(max_length=120, null=True, default=None)  # the API has null
    # It does not help to find open todos: SQLite uses no index for Django's NOT completed.
    completed = models.BooleanField(default=False, db_index=True)
    deadline_at = models.DateTimeField(null=True, default=None)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        """The table's name."""

        db_table = "todos"

    def __str__(self) -> str:
        return str(self.title)
