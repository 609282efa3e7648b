"""Runs one module of CPython's own tests and tells how each case ended.

    cases.py MODULE < LIST

MODULE is for example test_os, or test_asyncio.test_events. LIST holds the ids of cases to leave out, one per line. What is
told goes to standard output as it happens: `begin ID`, then `end STATUS ID`; `total N` comes first. Runs the same way
on the machine itself and in a sandbox.
"""

import os
import sys
import tempfile
import unittest

told = -1


def tell(*words):
    os.write(told, (" ".join(map(str, words)) + "\n").encode("utf-8", "backslashreplace"))


class Result(unittest.TestResult):
    """Tells of each case once; a failed part fails the case."""

    def startTest(self, test):
        super().startTest(test)
        self.status, self.why = "ok", ""
        tell("begin", test.id())

    def stopTest(self, test):
        super().stopTest(test)
        if self.why:
            tell("why", self.why)
        tell("end", self.status, test.id())

    def worse(self, test, status, err=None):
        if err:
            self.why = repr("".join(unittest.TestResult._exc_info_to_string(self, err, test))[-3000:])
        if isinstance(test, unittest.TestCase) or hasattr(test, "test_case"):
            self.status = status
        else:  # a fixture of a class or module: its cases will be missing
            tell("why", self.why)
            tell("fixture", status, test.id())

    def addError(self, test, err):
        self.worse(test, "error", err)

    def addFailure(self, test, err):
        self.worse(test, "failure", err)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.worse(test, "failure", err)

    def addSkip(self, test, reason):
        self.worse(test, "skip")

    def addExpectedFailure(self, test, err):
        self.status = "xfail"

    def addUnexpectedSuccess(self, test):
        self.status = "xpass"


def each(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from each(test)
        else:
            yield test


def kept(suite, skip):
    """The same suite, with its classes' fixtures, without what is to be left out."""
    tests = [kept(test, skip) if isinstance(test, unittest.TestSuite) else test for test in suite]
    return type(suite)(t for t in tests if isinstance(t, unittest.TestSuite) or t.id() not in skip)


def main():
    global told
    module, skip = sys.argv[1], set(sys.stdin.read().split("\n"))
    told = os.dup(1)
    # The module's own output is nobody's business, and its standard input is empty, as for a test runner.
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)

    import test
    from test import support

    extra = os.environ.get("EXTRA_TESTS")
    if extra:
        test.__path__.append(extra)
    # What CPython's runner enables by default: nothing that needs another machine or very much of anything.
    support.use_resources = ()
    support.verbose = 0
    place = tempfile.mkdtemp(prefix="cases-")
    os.chdir(place)
    suite = unittest.defaultTestLoader.loadTestsFromName(f"test.{module}")
    tell("total", sum(1 for _ in each(suite)))
    kept(suite, skip).run(Result())
    tell("done")
    os.chdir("/")
    os._exit(0)


# Processes that a case makes may import this file again.
if __name__ == "__main__":
    main()
