"""asyncio: many clients of one server, queues, locks, timeouts, subprocesses, signals, threads, unix sockets."""
import asyncio, os, signal, sys


async def echo(reader, writer):
    while line := await reader.readline():
        writer.write(line.upper())
        await writer.drain()
    writer.close()


async def ask(open_connection, count):
    reader, writer = await open_connection()
    answers = []
    for n in range(count):
        writer.write(f"word {n}\n".encode())
        answers.append((await reader.readline()).decode().strip())
    writer.close()
    await writer.wait_closed()
    return answers


async def main():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    many = await asyncio.gather(*(ask(lambda: asyncio.open_connection("127.0.0.1", port), 20) for _ in range(50)))
    print(len(many), many[0][-1], all(answers == many[0] for answers in many))
    unix = await asyncio.start_unix_server(echo, "sock")
    print((await ask(lambda: asyncio.open_unix_connection("sock"), 3)))
    try:
        await asyncio.wait_for(asyncio.sleep(60), 0.02)
    except asyncio.TimeoutError:
        print("timeout")
    queue, out = asyncio.Queue(3), []

    async def consume():
        while (item := await queue.get()) is not None:
            out.append(item)

    consumer = asyncio.create_task(consume())
    for n in [*range(100), None]:
        await queue.put(n)
    await consumer
    print(sum(out))
    process = await asyncio.create_subprocess_exec("tr", "a-z", "A-Z", stdin=asyncio.subprocess.PIPE,
                                                   stdout=asyncio.subprocess.PIPE)
    print(await process.communicate(b"lower" * 30000) == (b"LOWER" * 30000, None), process.returncode)
    loop, arrived = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, arrived.set)
    os.kill(os.getpid(), signal.SIGUSR1)
    await arrived.wait()
    print("signal", await asyncio.to_thread(sum, range(1000)))
    task = asyncio.create_task(asyncio.sleep(60))
    await asyncio.sleep(0)
    task.cancel()
    print((await asyncio.gather(task, return_exceptions=True))[0].__class__.__name__)
    server.close()
    unix.close()


asyncio.run(main())
sys.exit(10)
