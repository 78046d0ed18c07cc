"""Tests that mostly wait for processes of their own, run in two processes beside that of the other tests.

Where all tests are discovered they take two thirds of the time so. A module takes part by
`load_tests = beside.load_tests`; named on the command line, or on a database server, its tests run
as others do.
"""

import os
import unittest
from concurrent.futures import Future, ProcessPoolExecutor

from tests.forks import FORKS

# By the id of each test, what is to be told of it: the name of a method of TestResult, and a text.
Outcomes = dict[str, list[tuple[str, str]]]

_OTHERS = ProcessPoolExecutor(2, mp_context=FORKS)  # which start with what they are first given to do


def load_tests(_: unittest.TestLoader, tests: unittest.TestSuite, pattern: str | None) -> unittest.TestSuite:
    """Begin to run `tests`, a suite for each class, and return what will tell of them.

    A protocol of unittest (https://docs.python.org/3/library/unittest.html#load-tests-protocol).
    """
    if pattern is None or "TEST_DATABASE_URL" in os.environ:
        return tests
    return unittest.TestSuite(told for each in tests for told in _begin(list(each)))  # type: ignore[arg-type]


def _begin(tests: list[unittest.TestCase]) -> list["_Told"]:
    outcomes = _OTHERS.submit(_run, [test.id() for test in tests])
    return [_Told(test, outcomes) for test in tests]


def _run(ids: list[str]) -> Outcomes:
    """Run, in another process, the tests of a class."""
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromNames(ids).run(result)
    outcomes: Outcomes = {test_id: [] for test_id in ids}
    for method, found in (
        ("addError", result.errors),
        ("addFailure", result.failures),
        ("addSkip", result.skipped),
    ):
        for test, text in found:
            test_id = getattr(test, "test_case", test).id()  # of a subtest, that of the test
            for concerned in [test_id] if test_id in outcomes else ids:  # else it is the class's own
                outcomes[concerned].append((method, text))
    return outcomes


class _Told(unittest.TestCase):
    """A test that runs in another process: tells what came of it."""

    def __init__(self, test: unittest.TestCase, outcomes: Future[Outcomes]) -> None:
        super().__init__("run")
        self.test = test
        self.outcomes = outcomes

    def run(self, result: unittest.TestResult | None = None) -> unittest.TestResult | None:
        if result is None:
            result = self.defaultTestResult()
        result.startTest(self.test)
        told = self.outcomes.result()[self.test.id()]
        for method, text in told:
            error = (AssertionError, AssertionError(text), None)
            getattr(result, method)(self.test, text if method == "addSkip" else error)
        if not told:
            result.addSuccess(self.test)
        result.stopTest(self.test)
        return result
