"""The application, with a label that does not clash with Django's own."""

from django.apps import AppConfig


class Todos(AppConfig):
    """The todos."""

    name = "bench.django"
    label = "todos"
