"""multiprocessing with fork and spawn: pools, queues, pipes, shared memory, managers, a killed child."""
import multiprocessing as mp, os, signal, sys
from multiprocessing import shared_memory


def square(n):
    return n * n


def produce(queue, count):
    for n in range(count):
        queue.put(n)
    queue.put(None)


def fill(name):
    block = shared_memory.SharedMemory(name)
    block.buf[:5] = b"share"
    block.close()


def grow(counter, times):
    for _ in range(times):
        with counter.get_lock():
            counter.value += 1


def main():
    for method in ("fork", "spawn"):
        context = mp.get_context(method)
        with context.Pool(3) as pool:
            print(method, sum(pool.map(square, range(300))), pool.apply(square, (12,)))
        queue = context.Queue()
        producer = context.Process(target=produce, args=(queue, 200))
        producer.start()
        print(sum(iter(queue.get, None)))
        producer.join()
        print(producer.exitcode)
        counter = context.Value("i", 0)
        workers = [context.Process(target=grow, args=(counter, 300)) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        print(counter.value)
    block = shared_memory.SharedMemory(create=True, size=4096)
    child = mp.Process(target=fill, args=(block.name,))
    child.start()
    child.join()
    print(bytes(block.buf[:5]))
    block.close()
    block.unlink()
    with mp.Manager() as manager:
        shared = manager.dict(a=1)
        shared["b"] = manager.list([1, 2])
        print(sorted(shared.keys()), list(shared["b"]))
    left, right = mp.Pipe()
    pid = os.fork()
    if pid == 0:
        right.send({"child": True})
        signal.pause()
    print(left.recv())
    os.kill(pid, signal.SIGKILL)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    sys.exit(6)


if __name__ == "__main__":
    main()
