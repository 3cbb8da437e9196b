import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Writes lines "key TAB value", with "TAB name TAB content" for each header, with the Java client's
 * defaults; prints each record's partition.
 */
public class Write {
    public static void main(String[] arguments) throws Exception {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", arguments[0]);
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (var producer =
                        new KafkaProducer<>(
                                properties, new StringSerializer(), new StringSerializer());
                var lines =
                        new BufferedReader(
                                new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
            for (String line; (line = lines.readLine()) != null; ) {
                String[] parts = line.split("\t");
                var record = new ProducerRecord<>(arguments[1], parts[0], parts[1]);
                for (int at = 2; at < parts.length; at += 2) {
                    byte[] content = parts[at + 1].getBytes(StandardCharsets.UTF_8);
                    record.headers().add(parts[at], content);
                }
                sent.add(producer.send(record));
            }
        }
        for (Future<RecordMetadata> record : sent) {
            System.out.println(record.get().partition());
        }
    }
}
