"""numpy: linear algebra in threads, FFT, a memory-mapped file, random numbers from a seed."""
import sys
import numpy as np

rng = np.random.default_rng(7)
a, b = rng.random((300, 300)), rng.random((300, 300))
print(np.allclose(np.linalg.solve(a, a @ b), b), round(float(np.trace(a)), 9))
print(np.allclose(np.fft.ifft(np.fft.fft(a[0])).real, a[0]), int(np.argmax(a)))
mapped = np.memmap("m.dat", dtype="int64", mode="w+", shape=(1000, 100))
mapped[:] = np.arange(100_000).reshape(1000, 100)
mapped.flush()
print(int(np.fromfile("m.dat", dtype="int64").sum()), np.sort(rng.integers(0, 1000, 10)).tolist())
np.savez_compressed("z.npz", a=a)
print(np.array_equal(np.load("z.npz")["a"], a))
sys.exit(12)
