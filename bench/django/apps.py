"""The application, under a label that is not Django's."""

from django.apps import AppConfig


class Todos(AppConfig):
    """The todos."""

    name = "bench.django"
    label = "todos"
