from tests.base import TodoTest


class TestHealth(TodoTest):
    def test_health(self) -> None:
        response = self.client.get("/api/v1/health")
        self.assertEqual(200, response.status_code)
        self.assertEqual({"status": "ok"}, response.json)
