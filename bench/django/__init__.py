"""The API as Django REST framework's own tutorial teaches it: model, serializer, view set, router."""
