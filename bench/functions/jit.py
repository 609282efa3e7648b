"""Two workloads of FaaSdom: the factors of a number, and the product of two square matrices.

With Numba where it is there; it compiles at the first call, which a warm-up event makes before the snapshot.
"""

import math
import time

try:
    from numba import njit
    import numpy

    compiled = "numba"
except ImportError:
    compiled = "interpreter"

    def njit(function):
        return function


@njit
def fact(number):
    """How many numbers divide it."""
    found = 0
    for candidate in range(1, int(math.sqrt(number)) + 1):
        if number % candidate == 0:
            found += 1 if candidate * candidate == number else 2
    return found


@njit
def product(a, b, out, size):
    for i in range(size):
        for j in range(size):
            total = 0.0
            for k in range(size):
                total += a[i][k] * b[k][j]
            out[i][j] = total


def matrix_mult(size):
    rows = [[float((i * size + j) % 10) for j in range(size)] for i in range(size)]
    out = [[0.0] * size for _ in range(size)]
    if compiled == "numba":
        rows, out = numpy.array(rows), numpy.array(out)
    product(rows, rows, out, size)
    return float(out[0][0] + out[size - 1][size - 1])


def handler(event, context):
    work = fact if event["work"] == "fact" else matrix_mult
    started = time.perf_counter()
    result = work(event["size"])
    return {"ms": (time.perf_counter() - started) * 1e3, "result": result, "compiled": compiled}
