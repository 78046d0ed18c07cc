"""The serializer, the views and their URLs."""

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
    """A todo in requests and responses."""

    class Meta:
        """The members."""

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
        """Refuse unknown members, which the framework ignores."""
        writable = {name for name, field in self.fields.items() if not field.read_only}
        if isinstance(data, dict) and (unknown := data.keys() - writable):
            raise serializers.ValidationError({name: ["Unknown member."] for name in unknown})
        return super().to_internal_value(data)


class TodoPagination(pagination.CursorPagination):
    """Pages without a count of all todos. A request without `limit` gets all todos."""

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
        """Return the todos that match."""
        todos = super().get_queryset()
        if "completed" in self.request.query_params:
            todos = todos.filter(completed=self.request.query_params["completed"] == "true")
        return todos

    @action(detail=False, methods=["post"])
    def batch(self, request: Request) -> Response:
        """Create all todos or none."""
        todos = [operation["todo"] for operation in request.data["operations"]]
        serializer = self.get_serializer(data=todos, many=True)
        serializer.is_valid(raise_exception=True)
        with transaction.atomic():
            serializer.save()
        return Response({"results": serializer.data})


def health(_: HttpRequest) -> JsonResponse:
    """Return the health of the service."""
    return JsonResponse({"status": "ok"})


router = routers.SimpleRouter(trailing_slash=False)
router.register("todos", TodoViewSet)
urlpatterns = [path("api/v1/health", health), path("api/v1/", include(router.urls))]
