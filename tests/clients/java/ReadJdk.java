import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Iterator;
import java.util.stream.Stream;

/** The JDK's own client knows lines only: fields, blocks and coming back are this program's. */
public class ReadJdk {
    private String lastEventId;
    private long waitMs = 3000;

    public static void main(String[] arguments) throws Exception {
        ReadJdk reader = new ReadJdk();
        reader.lastEventId = arguments[2];
        HttpClient client =
                HttpClient.newBuilder()
                        .version(HttpClient.Version.HTTP_1_1)
                        .followRedirects(HttpClient.Redirect.NORMAL)
                        .build();
        while (true) {
            HttpRequest.Builder request =
                    HttpRequest.newBuilder(URI.create(arguments[0]))
                            .header("Accept", "text/event-stream")
                            .header(
                                    "Authorization",
                                    "Bearer " + Files.readString(Path.of(arguments[1])).strip());
            if (!reader.lastEventId.isEmpty()) {
                request.header("Last-Event-ID", reader.lastEventId);
            }
            try {
                HttpResponse<Stream<String>> response =
                        client.send(request.build(), HttpResponse.BodyHandlers.ofLines());
                if (response.statusCode() == 200) {
                    reader.read(response.body().iterator());
                }
            } catch (IOException | UncheckedIOException error) {
                System.err.println(error);
            }
            Thread.sleep(reader.waitMs);
        }
    }

    private void read(Iterator<String> lines) {
        String id = lastEventId;
        String type = "message";
        StringBuilder data = new StringBuilder();
        while (lines.hasNext()) {
            String line = lines.next();
            String value = line.replaceFirst("^[a-z]*: ?", "");
            if (line.startsWith("id:")) {
                id = value;
            } else if (line.startsWith("event:")) {
                type = value;
            } else if (line.startsWith("data:")) {
                data.append(data.isEmpty() ? "" : "\n").append(value);
            } else if (line.startsWith("retry:")) {
                waitMs = Long.parseLong(value);
            } else if (line.isEmpty()) {
                lastEventId = id;
                if (!data.isEmpty()) {
                    System.out.printf(
                            "{\"type\":\"%s\",\"id\":\"%s\",\"data\":%s}%n", type, id, data);
                }
                type = "message";
                data.setLength(0);
            }
        }
    }
}
