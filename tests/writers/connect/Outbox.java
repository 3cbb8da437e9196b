import com.fasterxml.jackson.databind.ObjectMapper;
import io.debezium.data.Envelope;
import io.debezium.data.Json;
import io.debezium.data.Uuid;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.data.SchemaBuilder;
import org.apache.kafka.connect.data.Struct;
import org.apache.kafka.connect.source.SourceRecord;
import org.apache.kafka.connect.storage.Converter;
import org.apache.kafka.connect.storage.HeaderConverter;
import org.apache.kafka.connect.storage.SimpleHeaderConverter;
import org.apache.kafka.connect.transforms.Transformation;

/**
 * Does what a Connect worker does with rows of an outbox table: "user TAB type TAB payload" lines
 * become changes as Debezium's connectors report them, go through the transforms and converters of
 * a connector's configuration (a JSON file; each in turn where there are several), and are written.
 * Each row is then deleted, as services do. Prints each record's partition.
 */
public class Outbox {
    private static final Schema ROW =
            SchemaBuilder.struct()
                    .name("app.public.outbox.Value")
                    .field("id", Uuid.schema())
                    .field("user_id", Schema.STRING_SCHEMA)
                    .field("event_type", Schema.STRING_SCHEMA)
                    .field("payload", Json.schema())
                    .build();
    private static final Schema SOURCE =
            SchemaBuilder.struct().field("table", Schema.STRING_SCHEMA).build();
    private static final Envelope CHANGE =
            Envelope.defineSchema()
                    .withName("app.public.outbox.Envelope")
                    .withRecord(ROW)
                    .withSource(SOURCE)
                    .build();

    public static void main(String[] arguments) throws Exception {
        List<String[]> rows = new ArrayList<>();
        try (var lines =
                new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
            for (String line; (line = lines.readLine()) != null; ) {
                rows.add(line.split("\t", 3));
            }
        }
        Properties properties = new Properties();
        properties.put("bootstrap.servers", arguments[0]);
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (var producer =
                new KafkaProducer<>(
                        properties, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (int at = 1; at < arguments.length; at++) {
                for (var record : records(rows, read(Path.of(arguments[at])))) {
                    sent.add(producer.send(record));
                }
            }
        }
        for (Future<RecordMetadata> record : sent) {
            System.out.println(record.get().partition());
        }
    }

    /** What a connector with this configuration writes for the rows. */
    private static List<ProducerRecord<byte[], byte[]>> records(
            List<String[]> rows, Map<String, String> configuration) throws Exception {
        List<Transformation<SourceRecord>> transforms = new ArrayList<>();
        for (String name : configuration.get("transforms").split(",")) {
            Map<String, String> options = below(configuration, "transforms." + name + ".");
            Transformation<SourceRecord> transform = make(options.remove("type"));
            transform.configure(options);
            transforms.add(transform);
        }
        Converter keys = converter(configuration, "key.converter", true);
        Converter values = converter(configuration, "value.converter", false);
        HeaderConverter headers = new SimpleHeaderConverter(); // Connect's default
        List<ProducerRecord<byte[], byte[]>> made = new ArrayList<>();
        for (String[] row : rows) {
            for (SourceRecord change : changes(row)) {
                SourceRecord record = change;
                for (var transform : transforms) {
                    record = record == null ? null : transform.apply(record);
                }
                if (record != null) {
                    made.add(converted(record, keys, values, headers));
                }
            }
        }
        return made;
    }

    /** A row that is inserted and deleted, with the tombstone that follows a deletion. */
    private static List<SourceRecord> changes(String[] columns) {
        Schema keySchema = SchemaBuilder.struct().field("id", Uuid.schema()).build();
        String id = UUID.randomUUID().toString();
        Struct key = new Struct(keySchema).put("id", id);
        Struct row =
                new Struct(ROW)
                        .put("id", id)
                        .put("user_id", columns[0])
                        .put("event_type", columns[1])
                        .put("payload", columns[2]);
        Struct source = new Struct(SOURCE).put("table", "outbox");
        Struct created = CHANGE.create(row, source, Instant.now());
        Struct deleted = CHANGE.delete(row, source, Instant.now());
        return List.of(
                change(keySchema, key, CHANGE.schema(), created),
                change(keySchema, key, CHANGE.schema(), deleted),
                change(keySchema, key, null, null));
    }

    private static SourceRecord change(Schema keySchema, Struct key, Schema schema, Struct value) {
        String topic = "app.public.outbox";
        return new SourceRecord(Map.of(), Map.of(), topic, keySchema, key, schema, value);
    }

    private static ProducerRecord<byte[], byte[]> converted(
            SourceRecord record, Converter keys, Converter values, HeaderConverter headers) {
        String topic = record.topic();
        byte[] key = keys.fromConnectData(topic, record.keySchema(), record.key());
        byte[] value = values.fromConnectData(topic, record.valueSchema(), record.value());
        var made = new ProducerRecord<>(topic, null, record.timestamp(), key, value);
        record.headers()
                .forEach(
                        header ->
                                made.headers()
                                        .add(
                                                header.key(),
                                                headers.fromConnectHeader(
                                                        topic,
                                                        header.key(),
                                                        header.schema(),
                                                        header.value())));
        return made;
    }

    private static Converter converter(
            Map<String, String> configuration, String name, boolean isKey) throws Exception {
        Converter converter = make(configuration.get(name));
        converter.configure(below(configuration, name + "."), isKey);
        return converter;
    }

    private static Map<String, String> below(Map<String, String> configuration, String prefix) {
        Map<String, String> options = new HashMap<>();
        configuration.forEach(
                (name, value) -> {
                    if (name.startsWith(prefix)) {
                        options.put(name.substring(prefix.length()), value);
                    }
                });
        return options;
    }

    @SuppressWarnings("unchecked")
    private static Map<String, String> read(Path file) throws Exception {
        return new ObjectMapper().readValue(Files.readString(file), Map.class);
    }

    @SuppressWarnings("unchecked")
    private static <T> T make(String name) throws Exception {
        return (T) Class.forName(name).getDeclaredConstructor().newInstance();
    }
}
