"""The API as Django REST framework's tutorial teaches it: model, serializer, view set, router."""
