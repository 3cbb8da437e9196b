import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.Response;
import okhttp3.sse.EventSource;
import okhttp3.sse.EventSourceListener;
import okhttp3.sse.EventSources;

/** OkHttp's event source: one connection; a loop around it comes back with the id. */
public class ReadOkHttp extends EventSourceListener {
    private static volatile String lastEventId;
    private final CountDownLatch ended = new CountDownLatch(1);

    public static void main(String[] arguments) throws Exception {
        lastEventId = arguments[2];
        OkHttpClient client =
                new OkHttpClient.Builder().readTimeout(Duration.ofSeconds(90)).build();
        while (true) {
            String token = Files.readString(Path.of(arguments[1])).strip();
            Request.Builder request =
                    new Request.Builder()
                            .url(arguments[0])
                            .header("Authorization", "Bearer " + token);
            if (!lastEventId.isEmpty()) {
                request.header("Last-Event-ID", lastEventId);
            }
            ReadOkHttp listener = new ReadOkHttp();
            EventSources.createFactory(client).newEventSource(request.build(), listener);
            listener.ended.await();
            Thread.sleep(100);
        }
    }

    @Override
    public void onEvent(EventSource source, String id, String type, String data) {
        lastEventId = id;
        System.out.printf("{\"type\":\"%s\",\"id\":\"%s\",\"data\":%s}%n", type, id, data);
    }

    @Override
    public void onClosed(EventSource source) {
        ended.countDown();
    }

    @Override
    public void onFailure(EventSource source, Throwable error, Response response) {
        System.err.println(error + " " + response);
        ended.countDown();
    }
}
