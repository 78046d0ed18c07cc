"""What came of tests in other processes is told as if they had run in this one."""

import unittest

from tests import beside


class Samples:
    """Out of the sight of what looks for tests."""

    class Each(unittest.TestCase):
        def test_error(self) -> None:
            raise LookupError("at fault")

        def test_failure(self) -> None:
            self.assertEqual(1, 2)

        def test_pass(self) -> None:
            """It has a description."""

        def test_skip(self) -> None:
            self.skipTest("no need")

        def test_subtests(self) -> None:
            for number in range(3):
                with self.subTest(number=number):
                    self.assertEqual(1, number)

    class Unready(unittest.TestCase):
        @classmethod
        def setUpClass(cls) -> None:
            raise RuntimeError("not ready")

        def test_one(self) -> None: ...

        def test_other(self) -> None: ...


SAMPLES = (Samples.Each, Samples.Unready)


class TestBeside(unittest.TestCase):
    def test_what_came_of_each_is_told(self) -> None:
        result = unittest.TestResult()
        loader = unittest.defaultTestLoader
        samples = unittest.TestSuite(map(loader.loadTestsFromTestCase, SAMPLES))
        beside.load_tests(loader, samples, "test*.py").run(result)
        self.assertEqual(7, result.testsRun)
        for found, expected in (
            (
                result.errors,
                [("test_error", "at fault"), ("test_one", "not ready"), ("test_other", "not ready")],
            ),
            (
                result.failures,
                [("test_failure", "1 != 2"), ("test_subtests", "1 != 0"), ("test_subtests", "1 != 2")],
            ),
        ):
            for (test, text), (name, words) in zip(found, expected, strict=True):
                self.assertEqual(name, test.id().rpartition(".")[2])
                self.assertIn(words, text)
        self.assertEqual(["no need"], [reason for _, reason in result.skipped])

    def test_what_is_named_runs_here(self) -> None:
        tests = unittest.TestSuite()
        self.assertIs(tests, beside.load_tests(unittest.defaultTestLoader, tests, None))
