// Threads, executors, sockets, files, memory mappings, processes, garbage collection and a deep stack.
import java.io.*;
import java.net.*;
import java.nio.*;
import java.nio.channels.FileChannel;
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import java.util.stream.*;

public class Main {
    static int depth(int n) { return 1 + depth(n + 1); }

    public static void main(String[] args) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(8);
        List<Future<Long>> parts = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            final long from = i * 1000L;
            parts.add(pool.submit(() -> LongStream.range(from, from + 1000).sum()));
        }
        long sum = 0;
        for (Future<Long> part : parts) sum += part.get();
        System.out.println(sum + " " + IntStream.range(0, 100000).parallel().filter(n -> n % 3 == 0).count());

        try (ServerSocket server = new ServerSocket(0, 50, InetAddress.getLoopbackAddress())) {
            pool.submit(() -> {
                while (true) {
                    Socket client = server.accept();
                    pool.submit(() -> {
                        try (client) { client.getInputStream().transferTo(client.getOutputStream()); }
                        return null;
                    });
                }
            });
            int length = 0;
            for (int i = 0; i < 5; i++) {
                try (Socket socket = new Socket(server.getInetAddress(), server.getLocalPort())) {
                    socket.getOutputStream().write(new byte[10000]);
                    socket.shutdownOutput();
                    length += socket.getInputStream().readAllBytes().length;
                }
            }
            System.out.println(length);
        }
        pool.shutdownNow();

        Path path = Path.of("mapped");
        try (FileChannel channel = FileChannel.open(path, StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            MappedByteBuffer map = channel.map(FileChannel.MapMode.READ_WRITE, 0, 1 << 20);
            for (int i = 0; i < 1 << 18; i++) map.putInt(i);
            map.force();
        }
        System.out.println(Files.size(path) + " " + ByteBuffer.wrap(Files.readAllBytes(path)).getInt(400));
        Process process = new ProcessBuilder("sh", "-c", "read x; echo \"got $x\"; exit 6").start();
        process.getOutputStream().write("line\n".getBytes());
        process.getOutputStream().close();
        System.out.println(new String(process.getInputStream().readAllBytes()).trim() + " " + process.waitFor());

        AtomicInteger counter = new AtomicInteger();
        Thread[] threads = new Thread[32];
        for (int i = 0; i < threads.length; i++) {
            threads[i] = new Thread(() -> { for (int n = 0; n < 1000; n++) synchronized (counter) { counter.incrementAndGet(); } });
            threads[i].start();
        }
        for (Thread thread : threads) thread.join();
        System.out.println(counter);
        byte[][] kept = new byte[10][];
        for (int i = 0; i < 2000; i++) kept[i % 10] = new byte[1 << 18];
        System.gc();
        try { depth(0); } catch (StackOverflowError error) { System.out.println("stack overflow"); }
        try { Object nothing = null; nothing.hashCode(); } catch (NullPointerException error) { System.out.println("null"); }
        Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("hook")));
        System.exit(23);
    }
}
