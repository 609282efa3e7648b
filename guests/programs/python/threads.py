"""Threads with every primitive of `threading`, queues, thread pools and thread-local data."""
import concurrent.futures, queue, sys, threading

total, lock = 0, threading.Lock()


def add(times):
    global total
    for _ in range(times):
        with lock:
            total += 1


threads = [threading.Thread(target=add, args=(2000,)) for _ in range(16)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(total)
barrier, order = threading.Barrier(4), queue.Queue()


def meet(number):
    order.put(("before", number))
    barrier.wait()
    order.put(("after", number))


for number in range(4):
    threading.Thread(target=meet, args=(number,)).start()
met = [order.get() for _ in range(8)]
print(sorted(met[:4]), sorted(met[4:]))
condition, turns = threading.Condition(), []


def take_turns(own):
    for _ in range(50):
        with condition:
            condition.wait_for(lambda: len(turns) % 3 == own)
            turns.append(own)
            condition.notify_all()


players = [threading.Thread(target=take_turns, args=(own,)) for own in range(3)]
for player in players:
    player.start()
for player in players:
    player.join()
print(turns == [0, 1, 2] * 50)
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    print(sum(pool.map(lambda n: n * n, range(500))))
    late = threading.Event()
    waiting = [pool.submit(late.wait, 60) for _ in range(4)]
    late.set()
    print([future.result() for future in waiting])
local = threading.local()
local.value = 1
seen = []
thread = threading.Thread(target=lambda: seen.append(hasattr(local, "value")))
thread.start()
thread.join()
print(seen, threading.active_count() >= 1)
semaphore = threading.Semaphore(2)
print(semaphore.acquire(), semaphore.acquire(), semaphore.acquire(timeout=0.01))
timer = threading.Timer(0.01, lambda: print("timer"))
timer.start()
timer.join()
sys.exit(5)
