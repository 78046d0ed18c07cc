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
        errors = [(test.id().rpartition(".")[2], text) for test, text in result.errors]
        self.assertEqual(["test_error", "test_one", "test_other"], [name for name, _ in errors])
        for (_, text), words in zip(errors, ("at fault", "not ready", "not ready"), strict=True):
            self.assertIn(words, text)
        failures = [(test.id().rpartition(".")[2], text) for test, text in result.failures]
        self.assertEqual(["test_failure", "test_subtests", "test_subtests"], [name for name, _ in failures])
        for (_, text), words in zip(failures, ("1 != 2", "1 != 0", "1 != 2"), strict=True):
            self.assertIn(words, text)
        self.assertEqual(["no need"], [reason for _, reason in result.skipped])

    def test_what_is_named_runs_here(self) -> None:
        tests = unittest.TestSuite()
        self.assertIs(tests, beside.load_tests(unittest.defaultTestLoader, tests, None))
