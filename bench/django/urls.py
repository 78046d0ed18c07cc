"""The serializer, the views and their addresses."""

from typing import Any, ClassVar

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.urls import include, path
from rest_framework import pagination, routers, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from bench.django.models import Todo


class TodoSerializer(serializers.ModelSerializer):
    """A todo as it is sent and answered."""

    class Meta:
        """What is in it."""

        model = Todo
        fields: ClassVar = [
            "id",
            "title",
            "description",
            "completed",
            "deadline_at",
            "created_at",
            "updated_at",
        ]

    def to_internal_value(self, data: Any) -> Any:
        """Refuse what the framework would skip."""
        writable = {name for name, field in self.fields.items() if not field.read_only}
        if isinstance(data, dict) and (unknown := data.keys() - writable):
            raise serializers.ValidationError({name: ["Unknown member."] for name in unknown})
        return super().to_internal_value(data)


class TodoPagination(pagination.CursorPagination):
    """Pages that need no count of all todos; without `limit` there are none."""

    page_size = None
    page_size_query_param = "limit"
    max_page_size = 1000
    ordering = "id"


class TodoViewSet(viewsets.ModelViewSet):
    """The operations on todos."""

    queryset = Todo.objects.order_by("id")
    serializer_class = TodoSerializer
    pagination_class = TodoPagination

    def get_queryset(self) -> Any:
        """The todos that match."""
        todos = super().get_queryset()
        if "completed" in self.request.query_params:
            todos = todos.filter(completed=self.request.query_params["completed"] == "true")
        return todos

    @action(detail=False, methods=["post"])
    def batch(self, request: Request) -> Response:
        """Make all of them or none."""
        todos = [operation["todo"] for operation in request.data["operations"]]
        serializer = self.get_serializer(data=todos, many=True)
        serializer.is_valid(raise_exception=True)
        with transaction.atomic():
            serializer.save()
        return Response({"results": serializer.data})


def health(_: HttpRequest) -> JsonResponse:
    """Whether the service answers."""
    return JsonResponse({"status": "ok"})


router = routers.SimpleRouter(trailing_slash=False)
router.register("todos", TodoViewSet)
urlpatterns = [path("api/v1/health", health), path("api/v1/", include(router.urls))]
