// An HTTP server with state, timers and a pool of threads that the requests go through.
import com.sun.net.httpserver.HttpServer;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.*;
import java.util.concurrent.atomic.AtomicInteger;

public class Server {
    public static void main(String[] arguments) throws Exception {
        AtomicInteger count = new AtomicInteger();
        ScheduledExecutorService later = Executors.newScheduledThreadPool(2);
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getByName("127.0.0.1"), 8080), 0);
        server.setExecutor(Executors.newFixedThreadPool(4));
        server.createContext("/", exchange -> {
            String body = new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.UTF_8);
            Callable<String> work = () -> "[" + count.incrementAndGet() + ", " + body + "]";
            byte[] answer;
            try {
                answer = later.schedule(work, 1, TimeUnit.MILLISECONDS).get().getBytes(StandardCharsets.UTF_8);
            } catch (InterruptedException | ExecutionException e) {
                answer = e.toString().getBytes(StandardCharsets.UTF_8);
            }
            exchange.sendResponseHeaders(200, answer.length);
            exchange.getResponseBody().write(answer);
            exchange.close();
        });
        server.start();
        System.out.println("listening");
    }
}
